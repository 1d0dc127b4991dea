// Between the values of wire/messages.h and FlatBuffers tables; internal to wire. One Write and one
// Read per message, in convert_*.cc. Read is called on verified tables only and checks what the
// verifier cannot: lengths, enumerations, finite numbers.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "wire/limits.h"
#include "wire/messages.h"
#include "wire/messages_generated.h"

namespace exo::wire::internal {

using Builder = flatbuffers::FlatBufferBuilder;
template <class T>
using Offset = flatbuffers::Offset<T>;

// ---- writing

template <class Tag>
const fb::Id16* Fb(const Bytes<Tag, 16>& id) {
  static_assert(sizeof(id) == sizeof(fb::Id16) && alignof(fb::Id16) == 1);
  return reinterpret_cast<const fb::Id16*>(&id);
}
template <class Tag>
const fb::Id32* Fb(const Bytes<Tag, 32>& id) {
  static_assert(sizeof(id) == sizeof(fb::Id32) && alignof(fb::Id32) == 1);
  return reinterpret_cast<const fb::Id32*>(&id);
}
// At most `limit` bytes, cut between characters.
Offset<flatbuffers::String> Text(Builder& b, const std::string& text, uint32_t limit = kMaxName);

template <class T>
Offset<flatbuffers::Vector<T>> Scalars(Builder& b, const std::vector<T>& values) {
  return b.CreateVector(values.data(), values.size());
}

// At most `limit` elements.
template <class T, class Element, class WriteOne>
auto Tables(Builder& b, const std::vector<Element>& values, uint32_t limit, WriteOne write) {
  std::vector<Offset<T>> offsets;
  const size_t count = std::min<size_t>(values.size(), limit);
  offsets.reserve(count);
  for (size_t i = 0; i < count; ++i) offsets.push_back(write(b, values[i]));
  return b.CreateVector(offsets);
}

// ---- reading

// The first limit that is broken makes ok() false and names the field; later reads do nothing
// harmful.
class Reader {
 public:
  bool ok() const { return broken_ == nullptr; }
  const char* broken() const { return broken_; }

  template <class Tag, size_t N, class Struct>
  void Id(const Struct* from, Bytes<Tag, N>& to) {
    static_assert(sizeof(Struct) == N);
    if (from != nullptr) std::memcpy(to.bytes.data(), from, N);
  }
  void Text(const flatbuffers::String* from, std::string& to, const char* field,
            uint32_t limit = kMaxName) {
    if (from != nullptr && Fits(from->size(), limit, field)) to.assign(from->data(), from->size());
  }
  template <class T>
  void Scalars(const flatbuffers::Vector<T>* from, std::vector<T>& to, const char* field,
               uint32_t limit) {
    static_assert(std::is_trivially_copyable_v<T> && std::endian::native == std::endian::little);
    if (from == nullptr || !Fits(from->size(), limit, field)) return;
    // The verifier does not check where elements lie: a peer may have put them anywhere.
    to.resize(from->size());
    if (!to.empty()) std::memcpy(to.data(), from->Data(), to.size() * sizeof(T));
  }
  // A value of a newer version becomes `otherwise`, which must be safe to act on.
  template <class E>
  void Enum(uint8_t from, E last, E otherwise, E& to) {
    to = from > static_cast<uint8_t>(last) ? otherwise : static_cast<E>(from);
  }
  void Code(uint8_t from, ErrorCode& to) {
    Enum(from, ErrorCode::kDenied, ErrorCode::kUnsupported, to);
  }
  template <class F>
  void Finite(F from, F& to, const char* field) {
    if (!std::isfinite(from)) return Break(field);
    to = from;
  }
  // Calls read(element, value) for each element of a vector of tables or structs.
  template <class Vector, class T, class Read>
  void List(const Vector* from, std::vector<T>& to, const char* field, uint32_t limit, Read read) {
    if (from == nullptr || !Fits(from->size(), limit, field)) return;
    using Element = std::remove_cvref_t<decltype(*from->Get(0))>;
    to.resize(from->size());
    for (uint32_t i = 0; i < from->size() && ok(); ++i) {
      if constexpr (std::is_base_of_v<flatbuffers::Table, Element>) {
        read(*from->Get(i), to[i]);
      } else {
        // The verifier does not check where structs lie: a peer may have put them anywhere.
        Element element;
        std::memcpy(&element, from->Data() + i * sizeof(Element), sizeof(Element));
        read(element, to[i]);
      }
    }
  }
  void Break(const char* field) {
    if (broken_ == nullptr) broken_ = field;
  }

 private:
  bool Fits(uint32_t size, uint32_t limit, const char* field) {
    if (size > limit) Break(field);
    return ok();
  }
  const char* broken_ = nullptr;
};

// ---- one pair per message

#define EXO_WIRE_CONVERT(Type)                           \
  Offset<fb::Type> Write(Builder& b, const Type& value); \
  void Read(Reader& r, const fb::Type& from, Type& to);
EXO_WIRE_CONVERT(Hello)
EXO_WIRE_CONVERT(HelloReply)
EXO_WIRE_CONVERT(Heartbeat)
EXO_WIRE_CONVERT(NodeUpdate)
EXO_WIRE_CONVERT(RecordRequest)
EXO_WIRE_CONVERT(PeerHints)
EXO_WIRE_CONVERT(Goodbye)
EXO_WIRE_CONVERT(Reserve)
EXO_WIRE_CONVERT(ReserveReply)
EXO_WIRE_CONVERT(Commit)
EXO_WIRE_CONVERT(Loaded)
EXO_WIRE_CONVERT(LoadProgress)
EXO_WIRE_CONVERT(InstanceReady)
EXO_WIRE_CONVERT(LeaseRenew)
EXO_WIRE_CONVERT(Release)
EXO_WIRE_CONVERT(InstanceSummary)
EXO_WIRE_CONVERT(EnsureInstance)
EXO_WIRE_CONVERT(Submit)
EXO_WIRE_CONVERT(Tokens)
EXO_WIRE_CONVERT(Finished)
EXO_WIRE_CONVERT(CancelRequest)
EXO_WIRE_CONVERT(ManifestRequest)
EXO_WIRE_CONVERT(ManifestReply)
EXO_WIRE_CONVERT(TensorRequest)
EXO_WIRE_CONVERT(TensorReply)
EXO_WIRE_CONVERT(PageRequest)
EXO_WIRE_CONVERT(PageReply)
EXO_WIRE_CONVERT(Step)
EXO_WIRE_CONVERT(StepFailed)
EXO_WIRE_CONVERT(Partials)
EXO_WIRE_CONVERT(LogitsWanted)
EXO_WIRE_CONVERT(ShardLogits)
EXO_WIRE_CONVERT(EnsureRefused)
EXO_WIRE_CONVERT(DesiredUpdate)
EXO_WIRE_CONVERT(DesiredAck)
EXO_WIRE_CONVERT(InstanceLoad)
EXO_WIRE_CONVERT(PlanRequest)
EXO_WIRE_CONVERT(PlanReply)
EXO_WIRE_CONVERT(PauseRequest)
EXO_WIRE_CONVERT(Queued)
EXO_WIRE_CONVERT(PairStart)
EXO_WIRE_CONVERT(PairShare)
EXO_WIRE_CONVERT(PairConfirm)
EXO_WIRE_CONVERT(PairGrant)
EXO_WIRE_CONVERT(PairRefused)
EXO_WIRE_CONVERT(TrustUpdate)
EXO_WIRE_CONVERT(DeleteModel)
EXO_WIRE_CONVERT(ModelDeleted)
EXO_WIRE_CONVERT(ConversationNews)
EXO_WIRE_CONVERT(ConversationPull)
EXO_WIRE_CONVERT(ConversationVersions)
EXO_WIRE_CONVERT(ConversationRows)
EXO_WIRE_CONVERT(StaleRows)
EXO_WIRE_CONVERT(LinkProbe)
EXO_WIRE_CONVERT(LinkEcho)
#undef EXO_WIRE_CONVERT

// Shared by several messages.
Offset<fb::HybridTime> WriteTime(Builder& b, const HybridTime& value);
void ReadTime(Reader& r, const fb::HybridTime* from, HybridTime& to);
Offset<flatbuffers::Vector<const fb::StageTime*>> WriteTimes(Builder& b,
                                                             const std::vector<StageTime>& times);
void ReadTimes(Reader& r, const flatbuffers::Vector<const fb::StageTime*>* from,
               std::vector<StageTime>& to);
Offset<flatbuffers::Vector<const fb::AdapterUse*>> WriteUses(Builder& b,
                                                             const std::vector<AdapterUse>& uses);
void ReadUses(Reader& r, const flatbuffers::Vector<const fb::AdapterUse*>* from,
              std::vector<AdapterUse>& to);

}  // namespace exo::wire::internal
