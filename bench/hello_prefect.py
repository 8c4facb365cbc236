"""The same script for the peer."""

from prefect import flow, task


@task
def say_hello(name: str) -> None:
    print(f"Hello, {name}!")


@flow(name="Hello World!", log_prints=True)
def hello(name: str = "Marvin") -> None:
    say_hello(name=name)


if __name__ == "__main__":
    hello()
