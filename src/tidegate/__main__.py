"""`python -m tidegate` is `tidegate`."""

from tidegate.app import main

if __name__ == "__main__":
    main()
