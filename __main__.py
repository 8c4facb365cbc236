from holter.cli import main

main()
