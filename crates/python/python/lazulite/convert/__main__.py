"""`python -m lazulite.convert model.gguf folder [--dtype float16]`."""

import argparse
import sys

from .. import core as mx
from . import convert

DTYPES = ("float16", "bfloat16", "float32")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="lazulite.convert", description=convert.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("gguf", help="the GGUF file")
    parser.add_argument("folder", help="the folder to write")
    parser.add_argument("--dtype", choices=DTYPES, help="of floating-point arrays")
    options = parser.parse_args(arguments)
    try:
        dtype = options.dtype and getattr(mx, options.dtype)
        settings = convert(options.gguf, options.folder, dtype)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    layers, width = settings["num_hidden_layers"], settings["hidden_size"]
    print(f"{options.folder}: {settings['model_type']}, {layers} layers of width {width}")


if __name__ == "__main__":
    main()
