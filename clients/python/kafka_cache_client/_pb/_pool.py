"""The descriptor pool of this package's messages: written by proto/generate, not to be edited."""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
