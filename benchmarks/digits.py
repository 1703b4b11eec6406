"""LeNet-5 on scikit-learn's handwritten digits, by the recipe of `make demo`: python benchmarks/digits.py."""

from accuracy import main

if __name__ == "__main__":
    main(("lenet5-digits",), "digits", seeds=3)
