// Bytes of a frame: fixed 32-byte little-endian header, FlatBuffers metadata, padding, tensor
// bytes.
//   0  u32  magic "EXO1"        8  u32  metadata bytes      16 u64 tensor bytes
//   4  u16  message type        12 u32  reserved, 0         24 u64 sequence on this connection
//   6  u16  flags, 0
// Metadata starts at 32; tensor bytes start at the next multiple of 64. Everything a peer claims is
// checked against a limit before memory is taken, and every FlatBuffer is verified before it is
// read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "wire/messages.h"

namespace exo::wire {

inline constexpr size_t kHeaderBytes = 32;
inline constexpr size_t kTensorAlign = 64;

struct FrameHeader {
  uint16_t type = 0;  // index in Message, fixed numbers (docs/protocol.md)
  uint32_t metadata_bytes = 0;
  uint64_t tensor_bytes = 0;
  uint64_t sequence = 0;

  // Offset of the tensor bytes and length of the whole frame.
  uint64_t TensorOffset() const;
  uint64_t FrameBytes() const;
};

// Parses the first kHeaderBytes of a frame; its type may be one of a newer version (IsKnown).
// Errors: kCorrupt (magic, reserved bits, over `limit` bytes in all).
Result<FrameHeader> ParseHeader(std::span<const std::byte> bytes, uint64_t limit);

// Header + metadata (+ padding up to the tensor bytes when tensor_bytes > 0). The caller sends the
// tensor bytes right behind.
std::vector<std::byte> EncodeFrame(const Message& message, uint64_t sequence,
                                   uint64_t tensor_bytes = 0);

// The message of a frame's metadata. Errors: kCorrupt; kUnsupported for a type of a newer version,
// which the receiver skips and counts.
Result<Message> DecodeMessage(uint16_t type, std::span<const std::byte> metadata);

uint16_t TypeOf(const Message& message);
bool IsKnown(uint16_t type);
const char* TypeName(uint16_t type);

}  // namespace exo::wire
