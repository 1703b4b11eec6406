"""LeNet-5 on scikit-learn's handwritten digits, by the recipe of `make demo`: python benchmarks/digits.py."""

from accuracy import run

if __name__ == "__main__":
    run("lenet5-digits", "digits")
