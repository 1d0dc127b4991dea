// Frame headers and the metadata of every message type: nothing that a peer sends may crash or
// allocate beyond its limits, and what decodes must survive a round trip.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "wire/codec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace exo::wire;
  if (size < 2) return 0;
  const auto bytes = std::as_bytes(std::span(data, size));
  (void)ParseHeader(bytes, kMaxControlFrame);
  // First byte: type; the rest: metadata.
  const auto message = DecodeMessage(data[0], bytes.subspan(1));
  if (!message) return 0;
  const auto frame = EncodeFrame(*message, 1);
  const auto header = ParseHeader(std::span(frame).first(kHeaderBytes), frame.size());
  if (!header) std::abort();
  const auto again =
      DecodeMessage(header->type, std::span(frame).subspan(kHeaderBytes, header->metadata_bytes));
  if (!again || !(*again == *message)) std::abort();
  return 0;
}
