"""The published .proto says what the service speaks: protoc's reading of it is our messages, field by field."""

import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2

from schemas import gen
from serving.router.service.messages import described
from tokenledger.records.choosing import METHOD, PACKAGE, SERVICE, DecideRequest, DecideResponse


def compiled(folder: Path) -> descriptor_pb2.FileDescriptorProto:
    """The file as protoc reads it."""
    source, out = gen.HERE / "proto", folder / "router.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source}", f"--descriptor_set_out={out}", "router.proto"]
    subprocess.run(command, check=True)
    [file] = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return file


def test_the_messages_are_what_protoc_makes_of_the_published_file(tmp_path: Path) -> None:
    file = compiled(tmp_path)
    assert list(file.message_type) == [described(DecideRequest), described(DecideResponse)]


def test_the_service_is_named_as_it_is_served(tmp_path: Path) -> None:
    file = compiled(tmp_path)
    [service] = file.service
    [method] = service.method
    assert (file.package, service.name, method.name) == (PACKAGE, SERVICE, METHOD)
    assert (method.input_type, method.output_type) == (f".{PACKAGE}.DecideRequest", f".{PACKAGE}.DecideResponse")
    assert (method.client_streaming, method.server_streaming) == (False, False)


def test_fields_keep_their_numbers() -> None:
    """A number once given means that field for ever: new fields come last, none is taken out or moved."""
    published = {
        DecideRequest: [
            *("route", "operation_id", "text", "context_chars", "tools", "turns", "format", "tenant_id", "feature"),
        ],
        DecideResponse: [
            *("decision_id", "tier", "provider", "model", "reason", "ttl_us", "expected_cost_usd_pico"),
            *("confidence", "decision"),
        ],
    }
    for record, names in published.items():
        assert list(record.__struct_fields__)[: len(names)] == names
