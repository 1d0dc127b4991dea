// Pairing, and who is trusted.
#include "wire/convert.h"

namespace exo::wire::internal {
namespace {

Offset<fb::TrustEntry> WriteTrustEntry(Builder& b, const TrustEntry& value) {
  const auto name = Text(b, value.name);
  return fb::CreateTrustEntry(b, Fb(value.id), static_cast<uint8_t>(value.role), name);
}
void ReadTrustEntry(Reader& r, const fb::TrustEntry& from, TrustEntry& to) {
  r.Id(from.id(), to.id);
  // A role of a newer version: the fewest rights that do not cut the device off for ever.
  r.Enum(from.role(), TrustRole::kForgotten, TrustRole::kGuest, to.role);
  r.Text(from.name(), to.name, "name");
}

}  // namespace

Offset<fb::PairStart> Write(Builder& b, const PairStart& value) {
  const auto share = Scalars(b, value.share);
  const auto name = Text(b, value.name);
  return fb::CreatePairStart(b, static_cast<uint8_t>(value.kind), share, name);
}
void Read(Reader& r, const fb::PairStart& from, PairStart& to) {
  // What is not known must not be taken for another kind.
  if (from.kind() > static_cast<uint8_t>(PairKind::kAsk)) return r.Break("kind");
  to.kind = static_cast<PairKind>(from.kind());
  r.Scalars(from.share(), to.share, "share", kMaxPairShare);
  r.Text(from.name(), to.name, "name");
}

Offset<fb::PairShare> Write(Builder& b, const PairShare& value) {
  return fb::CreatePairShare(b, Scalars(b, value.share));
}
void Read(Reader& r, const fb::PairShare& from, PairShare& to) {
  r.Scalars(from.share(), to.share, "share", kMaxPairShare);
}

Offset<fb::PairConfirm> Write(Builder& b, const PairConfirm& value) {
  return fb::CreatePairConfirm(b, Scalars(b, value.tag));
}
void Read(Reader& r, const fb::PairConfirm& from, PairConfirm& to) {
  r.Scalars(from.tag(), to.tag, "tag", kMaxPairTag);
}

Offset<fb::PairGrant> Write(Builder& b, const PairGrant& value) {
  const auto tag = Scalars(b, value.tag);
  const auto sealed = Scalars(b, value.sealed);
  return fb::CreatePairGrant(b, tag, sealed);
}
void Read(Reader& r, const fb::PairGrant& from, PairGrant& to) {
  r.Scalars(from.tag(), to.tag, "tag", kMaxPairTag);
  r.Scalars(from.sealed(), to.sealed, "sealed", kMaxPairSealed);
}

Offset<fb::PairRefused> Write(Builder& b, const PairRefused& value) {
  return fb::CreatePairRefused(b, static_cast<uint8_t>(value.code),
                               Text(b, value.reason, kMaxText));
}
void Read(Reader& r, const fb::PairRefused& from, PairRefused& to) {
  r.Enum(from.code(), PairRefusal::kPending, PairRefusal::kNotInviting, to.code);
  r.Text(from.reason(), to.reason, "reason", kMaxText);
}

Offset<fb::TrustUpdate> Write(Builder& b, const TrustUpdate& value) {
  const auto epoch = WriteTime(b, value.epoch);
  const auto secret = Scalars(b, value.secret);
  const auto entries = Tables<fb::TrustEntry>(b, value.entries, kMaxTrustEntries, WriteTrustEntry);
  return fb::CreateTrustUpdate(b, epoch, secret, entries);
}
void Read(Reader& r, const fb::TrustUpdate& from, TrustUpdate& to) {
  ReadTime(r, from.epoch(), to.epoch);
  r.Scalars(from.secret(), to.secret, "secret", kClusterSecretBytes);
  if (!to.secret.empty() && to.secret.size() != kClusterSecretBytes) return r.Break("secret");
  r.List(from.entries(), to.entries, "entries", kMaxTrustEntries,
         [&](const fb::TrustEntry& one, TrustEntry& value) { ReadTrustEntry(r, one, value); });
}

}  // namespace exo::wire::internal
