"""alexnet_28 on scikit-learn's handwritten digits, by its recipe: python benchmarks/digits_alexnet.py."""

from accuracy import main

if __name__ == "__main__":
    main(("alexnet_28-digits",), "digits", seeds=3)
