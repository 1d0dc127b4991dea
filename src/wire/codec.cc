// Framing, and the choice of the converter by the message's number.
#include "wire/codec.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/units.h"
#include "wire/convert.h"

namespace exo::wire {
namespace {

constexpr uint32_t kMagic = 0x314f5845;  // "EXO1" in little-endian order

// By number. New messages are only added at the end, of this table and of Message alike.
constexpr const char* kNames[] = {"Hello",
                                  "HelloReply",
                                  "Heartbeat",
                                  "NodeUpdate",
                                  "RecordRequest",
                                  "PeerHints",
                                  "Goodbye",
                                  "Reserve",
                                  "ReserveReply",
                                  "Commit",
                                  "Loaded",
                                  "LoadProgress",
                                  "InstanceReady",
                                  "LeaseRenew",
                                  "Release",
                                  "InstanceSummary",
                                  "EnsureInstance",
                                  "Submit",
                                  "Tokens",
                                  "Finished",
                                  "CancelRequest",
                                  "ManifestRequest",
                                  "ManifestReply",
                                  "TensorRequest",
                                  "TensorReply",
                                  "Step",
                                  "StepFailed",
                                  "EnsureRefused",
                                  "DesiredUpdate",
                                  "DesiredAck",
                                  "InstanceLoad",
                                  "PlanRequest",
                                  "PlanReply",
                                  "PauseRequest",
                                  "Queued",
                                  "PairStart",
                                  "PairShare",
                                  "PairConfirm",
                                  "PairGrant",
                                  "PairRefused",
                                  "TrustUpdate",
                                  "DeleteModel",
                                  "ModelDeleted",
                                  "Partials",
                                  "LogitsWanted",
                                  "ShardLogits",
                                  "ConversationNews",
                                  "ConversationPull",
                                  "ConversationVersions",
                                  "ConversationRows",
                                  "StaleRows",
                                  "LinkProbe",
                                  "LinkEcho",
                                  "PageRequest",
                                  "PageReply"};
constexpr size_t kTypes = std::size(kNames);
static_assert(kTypes == std::variant_size_v<Message>);
// A few anchors, so that reordering Message does not compile.
static_assert(std::is_same_v<std::variant_alternative_t<0, Message>, Hello>);
static_assert(std::is_same_v<std::variant_alternative_t<7, Message>, Reserve>);
static_assert(std::is_same_v<std::variant_alternative_t<17, Message>, Submit>);
static_assert(std::is_same_v<std::variant_alternative_t<25, Message>, Step>);

template <class T>
T Get(const std::byte* at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<T>(static_cast<T>(at[i]) << (8 * i));
  return value;
}
template <class T>
void Put(std::byte* at, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) at[i] = static_cast<std::byte>(value >> (8 * i));
}

template <class T>
struct TableOf;
#define EXO_WIRE_TABLE(Type) \
  template <>                \
  struct TableOf<Type> {     \
    using type = fb::Type;   \
  };
// clang-format off: it takes these for a chain of operators
EXO_WIRE_TABLE(Hello)
EXO_WIRE_TABLE(HelloReply)
EXO_WIRE_TABLE(Heartbeat)
EXO_WIRE_TABLE(NodeUpdate)
EXO_WIRE_TABLE(RecordRequest)
EXO_WIRE_TABLE(PeerHints)
EXO_WIRE_TABLE(Goodbye)
EXO_WIRE_TABLE(Reserve)
EXO_WIRE_TABLE(ReserveReply)
EXO_WIRE_TABLE(Commit)
EXO_WIRE_TABLE(Loaded)
EXO_WIRE_TABLE(LoadProgress)
EXO_WIRE_TABLE(InstanceReady)
EXO_WIRE_TABLE(LeaseRenew)
EXO_WIRE_TABLE(Release)
EXO_WIRE_TABLE(InstanceSummary)
EXO_WIRE_TABLE(EnsureInstance)
EXO_WIRE_TABLE(Submit)
EXO_WIRE_TABLE(Tokens)
EXO_WIRE_TABLE(Finished)
EXO_WIRE_TABLE(CancelRequest)
EXO_WIRE_TABLE(ManifestRequest)
EXO_WIRE_TABLE(ManifestReply)
EXO_WIRE_TABLE(TensorRequest)
EXO_WIRE_TABLE(TensorReply)
EXO_WIRE_TABLE(Step)
EXO_WIRE_TABLE(StepFailed)
EXO_WIRE_TABLE(EnsureRefused)
EXO_WIRE_TABLE(DesiredUpdate)
EXO_WIRE_TABLE(DesiredAck)
EXO_WIRE_TABLE(InstanceLoad)
EXO_WIRE_TABLE(PlanRequest)
EXO_WIRE_TABLE(PlanReply)
EXO_WIRE_TABLE(PauseRequest)
EXO_WIRE_TABLE(Queued)
EXO_WIRE_TABLE(PairStart)
EXO_WIRE_TABLE(PairShare)
EXO_WIRE_TABLE(PairConfirm)
EXO_WIRE_TABLE(PairGrant)
EXO_WIRE_TABLE(PairRefused)
EXO_WIRE_TABLE(TrustUpdate)
EXO_WIRE_TABLE(DeleteModel)
EXO_WIRE_TABLE(ModelDeleted)
EXO_WIRE_TABLE(Partials)
EXO_WIRE_TABLE(LogitsWanted)
EXO_WIRE_TABLE(ShardLogits)
EXO_WIRE_TABLE(ConversationNews)
EXO_WIRE_TABLE(ConversationPull)
EXO_WIRE_TABLE(ConversationVersions)
EXO_WIRE_TABLE(ConversationRows)
EXO_WIRE_TABLE(StaleRows)
EXO_WIRE_TABLE(LinkProbe)
EXO_WIRE_TABLE(LinkEcho)
EXO_WIRE_TABLE(PageRequest)
EXO_WIRE_TABLE(PageReply)
// clang-format on
#undef EXO_WIRE_TABLE

template <size_t kIndex>
Result<Message> Decode(std::span<const std::byte> bytes) {
  using Type = std::variant_alternative_t<kIndex, Message>;
  using Table = typename TableOf<Type>::type;
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  flatbuffers::Verifier verifier(data, bytes.size(), kMaxDepth, kMaxTables);
  if (!verifier.VerifyBuffer<Table>(nullptr)) {
    return Fail(ErrorCode::kCorrupt, "{} of {} bytes is malformed", kNames[kIndex], bytes.size());
  }
  Type value;
  internal::Reader reader;
  internal::Read(reader, *flatbuffers::GetRoot<Table>(data), value);
  if (!reader.ok()) {
    return Fail(ErrorCode::kCorrupt, "{}: {} is missing or out of bounds", kNames[kIndex],
                reader.broken());
  }
  return Message(std::in_place_index<kIndex>, std::move(value));
}

using Decoder = Result<Message> (*)(std::span<const std::byte>);
template <size_t... kIndex>
constexpr std::array<Decoder, kTypes> Decoders(std::index_sequence<kIndex...>) {
  return {Decode<kIndex>...};
}

}  // namespace

namespace internal {
Offset<flatbuffers::String> Text(Builder& b, const std::string& text, uint32_t limit) {
  size_t size = std::min<size_t>(text.size(), limit);
  if (size < text.size()) {
    while (size > 0 && (static_cast<uint8_t>(text[size]) & 0xc0) == 0x80) --size;
  }
  return b.CreateString(text.data(), size);
}
}  // namespace internal

uint64_t FrameHeader::TensorOffset() const {
  return RoundUp(kHeaderBytes + uint64_t{metadata_bytes}, kTensorAlign);
}

uint64_t FrameHeader::FrameBytes() const {
  return tensor_bytes == 0 ? kHeaderBytes + uint64_t{metadata_bytes}
                           : TensorOffset() + tensor_bytes;
}

Result<FrameHeader> ParseHeader(std::span<const std::byte> bytes, uint64_t limit) {
  if (bytes.size() < kHeaderBytes)
    return Fail(ErrorCode::kCorrupt, "frame header of {} bytes", bytes.size());
  const std::byte* at = bytes.data();
  if (Get<uint32_t>(at) != kMagic) return Fail(ErrorCode::kCorrupt, "not an exo frame");
  FrameHeader header;
  header.type = Get<uint16_t>(at + 4);
  header.metadata_bytes = Get<uint32_t>(at + 8);
  header.tensor_bytes = Get<uint64_t>(at + 16);
  header.sequence = Get<uint64_t>(at + 24);
  if (Get<uint16_t>(at + 6) != 0 || Get<uint32_t>(at + 12) != 0) {
    return Fail(ErrorCode::kCorrupt, "reserved bits of a {} frame are set", TypeName(header.type));
  }
  // The first comparison keeps the sum from wrapping.
  if (header.tensor_bytes > limit || header.FrameBytes() > limit) {
    return Fail(ErrorCode::kCorrupt, "{} frame of {} + {} bytes is over the limit of {}",
                TypeName(header.type), header.metadata_bytes, header.tensor_bytes, limit);
  }
  return header;
}

std::vector<std::byte> EncodeFrame(const Message& message, uint64_t sequence,
                                   uint64_t tensor_bytes) {
  internal::Builder builder(512);
  std::visit([&](const auto& value) { builder.Finish(internal::Write(builder, value)); }, message);
  FrameHeader header{.type = TypeOf(message),
                     .metadata_bytes = builder.GetSize(),
                     .tensor_bytes = tensor_bytes,
                     .sequence = sequence};
  std::vector<std::byte> frame(header.FrameBytes() - tensor_bytes);
  CHECK(tensor_bytes == 0 || frame.size() % kTensorAlign == 0);  // rows are computed on in place
  Put<uint32_t>(frame.data(), kMagic);
  Put<uint16_t>(frame.data() + 4, header.type);
  Put<uint32_t>(frame.data() + 8, header.metadata_bytes);
  Put<uint64_t>(frame.data() + 16, header.tensor_bytes);
  Put<uint64_t>(frame.data() + 24, header.sequence);
  std::memcpy(frame.data() + kHeaderBytes, builder.GetBufferPointer(), builder.GetSize());
  return frame;
}

Result<Message> DecodeMessage(uint16_t type, std::span<const std::byte> metadata) {
  static constexpr auto kDecoders = Decoders(std::make_index_sequence<kTypes>());
  if (!IsKnown(type)) {
    return Fail(ErrorCode::kUnsupported, "message type {} is of a newer version than {}", type,
                kProtocolVersion);
  }
  // FlatBuffers reads numbers in place, so the bytes must be aligned as they were written.
  if (reinterpret_cast<uintptr_t>(metadata.data()) % 8 != 0) {
    const std::vector<std::byte> aligned(metadata.begin(), metadata.end());
    return kDecoders[type](aligned);
  }
  return kDecoders[type](metadata);
}

uint16_t TypeOf(const Message& message) {
  return static_cast<uint16_t>(message.index());
}

bool IsKnown(uint16_t type) {
  return type < kTypes;
}

const char* TypeName(uint16_t type) {
  return type < kTypes ? kNames[type] : "unknown";
}

}  // namespace exo::wire
