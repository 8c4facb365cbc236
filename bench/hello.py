"""The script that is timed from start to end: one flow, one task, one line."""

from holter import flow, task


@task
def say_hello(name: str) -> None:
    print(f"Hello, {name}!")


@flow(name="Hello World!", log_prints=True)
def hello(name: str = "Marvin") -> None:
    say_hello(name=name)


if __name__ == "__main__":
    hello()
