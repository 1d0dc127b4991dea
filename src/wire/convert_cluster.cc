// Handshake and membership (instances: convert_instance.cc).
#include <algorithm>

#include "wire/convert.h"

namespace exo::wire::internal {
namespace {

Offset<fb::Address> WriteAddress(Builder& b, const Address& value) {
  return fb::CreateAddress(b, Text(b, value.host, kMaxHost), value.port);
}
void ReadAddress(Reader& r, const fb::Address& from, Address& to) {
  r.Text(from.host(), to.host, "address", kMaxHost);
  to.port = from.port();
}
void ReadAddresses(Reader& r, const flatbuffers::Vector<Offset<fb::Address>>* from,
                   std::vector<Address>& to) {
  r.List(from, to, "addresses", kMaxAddresses,
         [&](const fb::Address& one, Address& value) { ReadAddress(r, one, value); });
}

Offset<fb::ModelHolding> WriteHolding(Builder& b, const ModelHolding& value) {
  return fb::CreateModelHolding(
      b, Fb(value.id), Text(b, value.name), value.file_bytes, value.complete, value.trained_context,
      value.layers, Text(b, value.architecture), value.pulled, value.adapter, Fb(value.content));
}
void ReadHolding(Reader& r, const fb::ModelHolding& from, ModelHolding& to) {
  r.Id(from.id(), to.id);
  r.Text(from.name(), to.name, "model name");
  to.file_bytes = from.file_bytes();
  to.complete = from.complete();
  to.trained_context = from.trained_context();
  to.layers = from.layers();
  r.Text(from.architecture(), to.architecture, "architecture");
  to.pulled = from.pulled();
  to.adapter = from.adapter();
  r.Id(from.content(), to.content);
}

Offset<fb::FormatCost> WriteFormatCost(Builder& b, const FormatCost& value) {
  return fb::CreateFormatCost(b, value.format, value.decode, value.prefill);
}
void ReadFormatCost(Reader& r, const fb::FormatCost& from, FormatCost& to) {
  to.format = from.format();
  r.Finite(from.decode(), to.decode, "decode");
  r.Finite(from.prefill(), to.prefill, "prefill");
}

Offset<fb::Device> WriteDevice(Builder& b, const DeviceRecord& value) {
  const auto name = Text(b, value.name), isa = Text(b, value.isa);
  const auto formats = Tables<fb::FormatCost>(b, value.formats, kMaxFormats, WriteFormatCost);
  return fb::CreateDevice(b, static_cast<uint8_t>(value.kind), name, isa, value.cores,
                          value.memory_total, value.memory_budget, value.memory_reserved,
                          value.decode_gbps, value.prefill_gops, value.load, value.layer_bytes,
                          formats, value.duty, value.disk_gbps);
}
void ReadDevice(Reader& r, const fb::Device& from, DeviceRecord& to) {
  // A kind of a newer version is some accelerator.
  r.Enum(from.kind(), DeviceKind::kGpu, DeviceKind::kGpu, to.kind);
  r.Text(from.name(), to.name, "device name");
  r.Text(from.isa(), to.isa, "isa");
  to.cores = from.cores();
  to.memory_total = from.memory_total();
  to.memory_budget = from.memory_budget();
  to.memory_reserved = from.memory_reserved();
  r.Finite(from.decode_gbps(), to.decode_gbps, "decode_gbps");
  r.Finite(from.prefill_gops(), to.prefill_gops, "prefill_gops");
  r.Finite(from.load(), to.load, "load");
  r.Finite(from.layer_bytes(), to.layer_bytes, "layer_bytes");
  r.Finite(from.duty(), to.duty, "duty");
  r.Finite(from.disk_gbps(), to.disk_gbps, "disk_gbps");
  r.List(from.formats(), to.formats, "formats", kMaxFormats,
         [&](const fb::FormatCost& one, FormatCost& value) { ReadFormatCost(r, one, value); });
}

Offset<fb::Health> WriteHealth(Builder& b, const HealthRecord& value) {
  return fb::CreateHealth(b, static_cast<uint8_t>(value.power), value.charge.has_value(),
                          value.charge.value_or(0), static_cast<uint8_t>(value.heat),
                          static_cast<uint8_t>(value.owner), value.other_load, value.withheld,
                          value.reasons, value.celsius.has_value(), value.celsius.value_or(0),
                          value.memory_used.has_value(), value.memory_used.value_or(0));
}
void ReadHealth(Reader& r, const fb::Health* from, HealthRecord& to) {
  if (from == nullptr) return;  // an older node holds nothing back
  r.Enum(from->power(), PowerSource::kBattery, PowerSource::kUnknown, to.power);
  if (from->charge() > 100 || from->withheld() > kAllWithheld) return r.Break("health");
  if (from->battery()) to.charge = from->charge();
  r.Enum(from->heat(), Heat::kHot, Heat::kUnknown, to.heat);
  r.Enum(from->owner(), Presence::kPresent, Presence::kUnknown, to.owner);
  r.Finite(from->other_load(), to.other_load, "other_load");
  to.withheld = from->withheld();
  to.reasons = from->reasons();
  if (from->thermometer()) to.celsius = from->celsius();
  if (from->memory_known()) to.memory_used = from->memory_used();
}

Offset<fb::LinkRecord> WriteLink(Builder& b, const LinkRecord& value) {
  return fb::CreateLinkRecord(b, Fb(value.to), Text(b, value.host, kMaxHost), value.rtt_ms,
                              value.rtt_p99_ms, value.mbps, value.measured_s);
}
void ReadLink(Reader& r, const fb::LinkRecord& from, LinkRecord& to) {
  r.Id(from.to(), to.to);
  r.Text(from.host(), to.host, "host", kMaxHost);
  r.Finite(from.rtt_ms(), to.rtt_ms, "rtt_ms");
  r.Finite(from.rtt_p99_ms(), to.rtt_p99_ms, "rtt_p99_ms");
  r.Finite(from.mbps(), to.mbps, "mbps");
  to.measured_s = from.measured_s();
}

Offset<fb::InterfaceRecord> WriteInterface(Builder& b, const InterfaceRecord& value) {
  const auto name = Text(b, value.name), host = Text(b, value.host, kMaxHost);
  return fb::CreateInterfaceRecord(b, name, static_cast<uint8_t>(value.kind), host, value.prefix);
}
void ReadInterface(Reader& r, const fb::InterfaceRecord& from, InterfaceRecord& to) {
  if (from.prefix() > kMaxPrefix) return r.Break("prefix");
  r.Text(from.name(), to.name, "interface");
  // A kind of a newer version is nothing to send anybody to.
  r.Enum(from.kind(), InterfaceKind::kTunnel, InterfaceKind::kVirtual, to.kind);
  r.Text(from.host(), to.host, "host", kMaxHost);
  to.prefix = from.prefix();
}

auto WriteContents(Builder& b, const std::vector<Hash256>& contents) {
  return b.CreateVectorOfStructs(reinterpret_cast<const fb::Id32*>(contents.data()),
                                 std::min<size_t>(contents.size(), kMaxDownloads));
}

Offset<fb::NodeRecord> WriteRecord(Builder& b, const NodeRecord& value) {
  const auto name = Text(b, value.name);
  const auto addresses = Tables<fb::Address>(b, value.addresses, kMaxAddresses, WriteAddress);
  const auto devices = Tables<fb::Device>(b, value.devices, kMaxDevices, WriteDevice);
  const auto models = Tables<fb::ModelHolding>(b, value.models, kMaxModels, WriteHolding);
  const auto downloads = WriteContents(b, value.downloads);
  const auto awaits = WriteContents(b, value.awaits);
  const auto health = WriteHealth(b, value.health);
  const auto links = Tables<fb::LinkRecord>(b, value.links, kMaxLinks, WriteLink);
  const auto interfaces =
      Tables<fb::InterfaceRecord>(b, value.interfaces, kMaxAddresses, WriteInterface);
  return fb::CreateNodeRecord(b, Fb(value.id), value.incarnation, value.version, name, addresses,
                              Fb(value.numerics), devices, value.api_port, models, downloads,
                              awaits, health, links, interfaces);
}
void ReadRecord(Reader& r, const fb::NodeRecord* from, NodeRecord& to) {
  if (from == nullptr) return r.Break("record");
  r.Id(from->id(), to.id);
  to.incarnation = from->incarnation();
  to.version = from->version();
  r.Text(from->name(), to.name, "node name");
  ReadAddresses(r, from->addresses(), to.addresses);
  r.Id(from->numerics(), to.numerics);
  r.List(from->devices(), to.devices, "devices", kMaxDevices,
         [&](const fb::Device& one, DeviceRecord& value) { ReadDevice(r, one, value); });
  to.api_port = from->api_port();
  r.List(from->models(), to.models, "models", kMaxModels,
         [&](const fb::ModelHolding& one, ModelHolding& value) { ReadHolding(r, one, value); });
  const auto read_id = [&](const fb::Id32& one, Hash256& value) { r.Id(&one, value); };
  r.List(from->downloads(), to.downloads, "downloads", kMaxDownloads, read_id);
  r.List(from->awaits(), to.awaits, "awaits", kMaxDownloads, read_id);
  ReadHealth(r, from->health(), to.health);
  r.List(from->links(), to.links, "links", kMaxLinks,
         [&](const fb::LinkRecord& one, LinkRecord& value) { ReadLink(r, one, value); });
  r.List(from->interfaces(), to.interfaces, "interfaces", kMaxAddresses,
         [&](const fb::InterfaceRecord& one, InterfaceRecord& value) {
           ReadInterface(r, one, value);
         });
}

}  // namespace

Offset<fb::Hello> Write(Builder& b, const Hello& value) {
  const auto name = Text(b, value.name);
  const auto version = Text(b, value.version);
  const auto proof = Scalars(b, value.proof);
  return fb::CreateHello(b, value.protocols.oldest, value.protocols.newest, Fb(value.numerics),
                         static_cast<uint8_t>(value.channel), Fb(value.plan), value.boot_nonce,
                         value.listen_port, name, version, proof);
}
void Read(Reader& r, const fb::Hello& from, Hello& to) {
  to.protocols = {from.protocol_oldest(), from.protocol_newest()};
  r.Id(from.numerics(), to.numerics);
  // A channel that is not known must not be taken for another one.
  if (from.channel() > static_cast<uint8_t>(Channel::kBulk)) return r.Break("channel");
  to.channel = static_cast<Channel>(from.channel());
  r.Id(from.plan(), to.plan);
  to.boot_nonce = from.boot_nonce();
  to.listen_port = from.listen_port();
  r.Text(from.name(), to.name, "name");
  r.Text(from.version(), to.version, "version");
  r.Scalars(from.proof(), to.proof, "proof", kMaxProof);
}

Offset<fb::HelloReply> Write(Builder& b, const HelloReply& value) {
  return fb::CreateHelloReply(b, value.accepted, static_cast<uint8_t>(value.code),
                              Text(b, value.reason, kMaxText), value.protocols.oldest,
                              value.protocols.newest);
}
void Read(Reader& r, const fb::HelloReply& from, HelloReply& to) {
  to.accepted = from.accepted();
  r.Enum(from.code(), RefusalCode::kKeyInUse, RefusalCode::kNotMember, to.code);
  r.Text(from.reason(), to.reason, "reason", kMaxText);
  to.protocols = {from.protocol_oldest(), from.protocol_newest()};
}

Offset<fb::Heartbeat> Write(Builder& b, const Heartbeat& value) {
  return fb::CreateHeartbeat(b, value.sequence, value.incarnation, value.record_version, value.echo,
                             value.progress, value.wall_ms);
}
void Read(Reader& r, const fb::Heartbeat& from, Heartbeat& to) {
  if (from.wall_ms() > kMaxWallMs) return r.Break("wall_ms");
  to = {from.sequence(), from.incarnation(), from.record_version(),
        from.echo(),     from.progress(),    from.wall_ms()};
}

Offset<fb::NodeUpdate> Write(Builder& b, const NodeUpdate& value) {
  return fb::CreateNodeUpdate(b, WriteRecord(b, value.record));
}
void Read(Reader& r, const fb::NodeUpdate& from, NodeUpdate& to) {
  ReadRecord(r, from.record(), to.record);
}

Offset<fb::RecordRequest> Write(Builder& b, const RecordRequest&) {
  return fb::CreateRecordRequest(b);
}
void Read(Reader&, const fb::RecordRequest&, RecordRequest&) {}

Offset<fb::PeerHints> Write(Builder& b, const PeerHints& value) {
  const auto peers = Tables<fb::Hint>(
      b, value.peers, kMaxHints, [](Builder& builder, const PeerHints::Hint& hint) {
        const auto addresses =
            Tables<fb::Address>(builder, hint.addresses, kMaxAddresses, WriteAddress);
        return fb::CreateHint(builder, Fb(hint.id), addresses);
      });
  return fb::CreatePeerHints(b, peers);
}
void Read(Reader& r, const fb::PeerHints& from, PeerHints& to) {
  r.List(from.peers(), to.peers, "hints", kMaxHints,
         [&](const fb::Hint& one, PeerHints::Hint& hint) {
           r.Id(one.id(), hint.id);
           ReadAddresses(r, one.addresses(), hint.addresses);
         });
}

Offset<fb::Goodbye> Write(Builder& b, const Goodbye& value) {
  return fb::CreateGoodbye(b, Text(b, value.reason, kMaxText));
}
void Read(Reader& r, const fb::Goodbye& from, Goodbye& to) {
  r.Text(from.reason(), to.reason, "reason", kMaxText);
}

Offset<fb::DeleteModel> Write(Builder& b, const DeleteModel& value) {
  return fb::CreateDeleteModel(b, value.ticket, Fb(value.model));
}
void Read(Reader& r, const fb::DeleteModel& from, DeleteModel& to) {
  to.ticket = from.ticket();
  r.Id(from.model(), to.model);
}

Offset<fb::ModelDeleted> Write(Builder& b, const ModelDeleted& value) {
  return fb::CreateModelDeleted(b, value.ticket, value.ok, value.freed_bytes,
                                Text(b, value.said, kMaxText));
}
void Read(Reader& r, const fb::ModelDeleted& from, ModelDeleted& to) {
  to.ticket = from.ticket();
  to.ok = from.ok();
  to.freed_bytes = from.freed_bytes();
  r.Text(from.said(), to.said, "said", kMaxText);
}

}  // namespace exo::wire::internal
