"""Protobuf files for tests, made without a compiler: a user, who imports an address."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

__all__ = ["ADDRESS", "USER", "descriptor_set", "message_class"]

_FIELD = descriptor_pb2.FieldDescriptorProto
ADDRESS = descriptor_pb2.FileDescriptorProto(
    name="address.proto",
    package="shop",
    syntax="proto3",
    message_type=[
        descriptor_pb2.DescriptorProto(
            name="Address",
            field=[_FIELD(name="city", number=1, type=_FIELD.TYPE_STRING, label=1)],
        )
    ],
)
USER = descriptor_pb2.FileDescriptorProto(
    name="user.proto",
    package="shop",
    syntax="proto3",
    dependency=["address.proto", "google/protobuf/timestamp.proto"],
    message_type=[
        descriptor_pb2.DescriptorProto(
            name="User",
            field=[
                _FIELD(name="user_name", number=1, type=_FIELD.TYPE_STRING, label=1),
                _FIELD(name="big", number=2, type=_FIELD.TYPE_INT64, label=1),
                _FIELD(name="ratio", number=3, type=_FIELD.TYPE_DOUBLE, label=1),
                _FIELD(name="photo", number=4, type=_FIELD.TYPE_BYTES, label=1),
                _FIELD(
                    name="at", number=5, type=_FIELD.TYPE_MESSAGE, label=1,
                    type_name=".shop.Address",
                ),
                _FIELD(
                    name="born", number=6, type=_FIELD.TYPE_MESSAGE, label=1,
                    type_name=".google.protobuf.Timestamp",
                ),
                _FIELD(
                    name="boss", number=7, type=_FIELD.TYPE_MESSAGE, label=1,
                    type_name=".shop.User",
                ),
            ],
        ),
        descriptor_pb2.DescriptorProto(
            name="Outer",
            nested_type=[
                descriptor_pb2.DescriptorProto(name="First"),
                descriptor_pb2.DescriptorProto(
                    name="Inner",
                    field=[_FIELD(name="n", number=1, type=_FIELD.TYPE_INT32, label=1)],
                ),
            ],
        ),
    ],
)  # fmt: skip


def descriptor_set() -> bytes:
    """What protoc --include_imports --descriptor_set_out writes."""
    born = descriptor_pb2.FileDescriptorProto.FromString(timestamp_pb2.DESCRIPTOR.serialized_pb)
    return descriptor_pb2.FileDescriptorSet(file=[born, ADDRESS, USER]).SerializeToString()


def message_class(name: str):
    """The class of a message, as a producer's generated code has it."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    for file in (ADDRESS, USER):
        pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
