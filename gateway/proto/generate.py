"""Makes the Python of the gRPC contract; run it after every change of the ``.proto``.

    python -m gateway.proto.generate [folder]

Needs the requirements of development.
"""

import sys
from pathlib import Path

import grpc_tools
from google.rpc import status_pb2
from grpc_tools import protoc

ROOT = Path(__file__).parent
PROTO = "kafkahub/v1/kafkahub.proto"


def generate(folder: Path, *, is_client: bool = False) -> int:
    """Write the generated modules below a folder; return the compiler's exit status.

    is_client  with the stubs of a client as well; the server needs none
    """
    own = Path(grpc_tools.__file__).parent / "_proto"
    common = Path(status_pb2.__file__).parents[2]
    outputs = [f"--python_out={folder}", f"--pyi_out={folder}"]
    if is_client:
        outputs.append(f"--grpc_python_out={folder}")
    return int(protoc.main(["protoc", f"-I{ROOT}", f"-I{own}", f"-I{common}", *outputs, PROTO]))


if __name__ == "__main__":
    raise SystemExit(generate(Path(sys.argv[1]) if sys.argv[1:] else ROOT))
