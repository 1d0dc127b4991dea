// Handshake, membership and instances.
#include "wire/convert.h"

namespace exo::wire::internal {
namespace {

template <class T, class Element, class WriteOne>
auto Tables(Builder& b, const std::vector<Element>& values, uint32_t limit, WriteOne write) {
  std::vector<Offset<T>> offsets;
  const size_t count = std::min<size_t>(values.size(), limit);
  offsets.reserve(count);
  for (size_t i = 0; i < count; ++i) offsets.push_back(write(b, values[i]));
  return b.CreateVector(offsets);
}

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
  return fb::CreateModelHolding(b, Fb(value.id), Text(b, value.name), value.file_bytes,
                                value.complete);
}
void ReadHolding(Reader& r, const fb::ModelHolding& from, ModelHolding& to) {
  r.Id(from.id(), to.id);
  r.Text(from.name(), to.name, "model name");
  to.file_bytes = from.file_bytes();
  to.complete = from.complete();
}

Offset<fb::NodeRecord> WriteRecord(Builder& b, const NodeRecord& value) {
  const auto name = Text(b, value.name);
  const auto addresses = Tables<fb::Address>(b, value.addresses, kMaxAddresses, WriteAddress);
  const auto isa = Text(b, value.isa);
  const auto models = Tables<fb::ModelHolding>(b, value.models, kMaxModels, WriteHolding);
  return fb::CreateNodeRecord(b, Fb(value.id), value.incarnation, value.version, name, addresses,
                              Fb(value.numerics), isa, value.cores, value.memory_total,
                              value.memory_budget, value.memory_reserved, value.decode_gbps,
                              value.prefill_gops, value.api_port, models);
}
void ReadRecord(Reader& r, const fb::NodeRecord* from, NodeRecord& to) {
  if (from == nullptr) return r.Break("record");
  r.Id(from->id(), to.id);
  to.incarnation = from->incarnation();
  to.version = from->version();
  r.Text(from->name(), to.name, "node name");
  ReadAddresses(r, from->addresses(), to.addresses);
  r.Id(from->numerics(), to.numerics);
  r.Text(from->isa(), to.isa, "isa");
  to.cores = from->cores();
  to.memory_total = from->memory_total();
  to.memory_budget = from->memory_budget();
  to.memory_reserved = from->memory_reserved();
  r.Finite(from->decode_gbps(), to.decode_gbps, "decode_gbps");
  r.Finite(from->prefill_gops(), to.prefill_gops, "prefill_gops");
  to.api_port = from->api_port();
  r.List(from->models(), to.models, "models", kMaxModels,
         [&](const fb::ModelHolding& one, ModelHolding& value) { ReadHolding(r, one, value); });
}

Offset<fb::Plan> WritePlan(Builder& b, const Plan& value) {
  const auto name = Text(b, value.model_name);
  const auto stages = Tables<fb::StagePlan>(
      b, value.stages, kMaxStages, [](Builder& builder, const StagePlan& stage) {
        return fb::CreateStagePlan(builder, Fb(stage.node), stage.layer_begin, stage.layer_end,
                                   stage.bytes);
      });
  return fb::CreatePlan(b, Fb(value.id), Fb(value.model), name, Fb(value.owner), value.term,
                        value.nonce, stages, value.layers, value.context, value.sequences,
                        value.chunk, value.kv_type, value.wire_codec);
}
void ReadPlan(Reader& r, const fb::Plan* from, Plan& to) {
  if (from == nullptr) return r.Break("plan");
  r.Id(from->id(), to.id);
  r.Id(from->model(), to.model);
  r.Text(from->model_name(), to.model_name, "model name");
  r.Id(from->owner(), to.owner);
  to.term = from->term();
  to.nonce = from->nonce();
  r.List(from->stages(), to.stages, "stages", kMaxStages,
         [&](const fb::StagePlan& one, StagePlan& stage) {
           r.Id(one.node(), stage.node);
           stage.layer_begin = one.layer_begin();
           stage.layer_end = one.layer_end();
           stage.bytes = one.bytes();
         });
  to.layers = from->layers();
  to.context = from->context();
  to.sequences = from->sequences();
  to.chunk = from->chunk();
  to.kv_type = from->kv_type();
  to.wire_codec = from->wire_codec();
}

}  // namespace

Offset<fb::Hello> Write(Builder& b, const Hello& value) {
  const auto name = Text(b, value.name);
  const auto version = Text(b, value.version);
  const auto proof = Scalars(b, value.proof);
  return fb::CreateHello(b, value.protocol_oldest, value.protocol_newest, value.features,
                         Fb(value.numerics), static_cast<uint8_t>(value.channel), Fb(value.plan),
                         value.boot_nonce, value.listen_port, name, version, proof);
}
void Read(Reader& r, const fb::Hello& from, Hello& to) {
  to.protocol_oldest = from.protocol_oldest();
  to.protocol_newest = from.protocol_newest();
  to.features = from.features();
  r.Id(from.numerics(), to.numerics);
  r.Enum(from.channel(), Channel::kBulk, to.channel, "channel");
  r.Id(from.plan(), to.plan);
  to.boot_nonce = from.boot_nonce();
  to.listen_port = from.listen_port();
  r.Text(from.name(), to.name, "name");
  r.Text(from.version(), to.version, "version");
  r.Scalars(from.proof(), to.proof, "proof", kMaxProof);
}

Offset<fb::HelloReply> Write(Builder& b, const HelloReply& value) {
  return fb::CreateHelloReply(b, value.accepted, static_cast<uint8_t>(value.code),
                              Text(b, value.reason, kMaxText));
}
void Read(Reader& r, const fb::HelloReply& from, HelloReply& to) {
  to.accepted = from.accepted();
  r.Enum(from.code(), RefusalCode::kKeyInUse, to.code, "code");
  r.Text(from.reason(), to.reason, "reason", kMaxText);
}

Offset<fb::Heartbeat> Write(Builder& b, const Heartbeat& value) {
  return fb::CreateHeartbeat(b, value.sequence, value.incarnation, value.record_version, value.echo,
                             value.progress);
}
void Read(Reader&, const fb::Heartbeat& from, Heartbeat& to) {
  to = {from.sequence(), from.incarnation(), from.record_version(), from.echo(), from.progress()};
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

Offset<fb::Reserve> Write(Builder& b, const Reserve& value) {
  return fb::CreateReserve(b, WritePlan(b, value.plan));
}
void Read(Reader& r, const fb::Reserve& from, Reserve& to) {
  ReadPlan(r, from.plan(), to.plan);
}

Offset<fb::ReserveReply> Write(Builder& b, const ReserveReply& value) {
  return fb::CreateReserveReply(b, Fb(value.plan), value.granted, static_cast<uint8_t>(value.code),
                                Text(b, value.reason, kMaxText));
}
void Read(Reader& r, const fb::ReserveReply& from, ReserveReply& to) {
  r.Id(from.plan(), to.plan);
  to.granted = from.granted();
  r.Code(from.code(), to.code);
  r.Text(from.reason(), to.reason, "reason", kMaxText);
}

Offset<fb::Commit> Write(Builder& b, const Commit& value) {
  return fb::CreateCommit(b, Fb(value.plan));
}
void Read(Reader& r, const fb::Commit& from, Commit& to) {
  r.Id(from.plan(), to.plan);
}

Offset<fb::Loaded> Write(Builder& b, const Loaded& value) {
  return fb::CreateLoaded(b, Fb(value.plan), value.ok, static_cast<uint8_t>(value.code),
                          Text(b, value.reason, kMaxText), value.milliseconds);
}
void Read(Reader& r, const fb::Loaded& from, Loaded& to) {
  r.Id(from.plan(), to.plan);
  to.ok = from.ok();
  r.Code(from.code(), to.code);
  r.Text(from.reason(), to.reason, "reason", kMaxText);
  to.milliseconds = from.milliseconds();
}

Offset<fb::LoadProgress> Write(Builder& b, const LoadProgress& value) {
  return fb::CreateLoadProgress(b, Fb(value.plan), value.done_bytes, value.total_bytes);
}
void Read(Reader& r, const fb::LoadProgress& from, LoadProgress& to) {
  r.Id(from.plan(), to.plan);
  to.done_bytes = from.done_bytes();
  to.total_bytes = from.total_bytes();
}

Offset<fb::InstanceReady> Write(Builder& b, const InstanceReady& value) {
  return fb::CreateInstanceReady(b, Fb(value.plan));
}
void Read(Reader& r, const fb::InstanceReady& from, InstanceReady& to) {
  r.Id(from.plan(), to.plan);
}

Offset<fb::LeaseRenew> Write(Builder& b, const LeaseRenew& value) {
  return fb::CreateLeaseRenew(b, Fb(value.plan));
}
void Read(Reader& r, const fb::LeaseRenew& from, LeaseRenew& to) {
  r.Id(from.plan(), to.plan);
}

Offset<fb::Release> Write(Builder& b, const Release& value) {
  return fb::CreateRelease(b, Fb(value.plan), Text(b, value.reason, kMaxText));
}
void Read(Reader& r, const fb::Release& from, Release& to) {
  r.Id(from.plan(), to.plan);
  r.Text(from.reason(), to.reason, "reason", kMaxText);
}

Offset<fb::InstanceSummary> Write(Builder& b, const InstanceSummary& value) {
  const auto plan = WritePlan(b, value.plan);
  const auto detail = Text(b, value.detail, kMaxText);
  return fb::CreateInstanceSummary(b, plan, static_cast<uint8_t>(value.state), detail,
                                   value.active_requests, value.queued_requests);
}
void Read(Reader& r, const fb::InstanceSummary& from, InstanceSummary& to) {
  ReadPlan(r, from.plan(), to.plan);
  r.Enum(from.state(), InstanceState::kGone, to.state, "state");
  r.Text(from.detail(), to.detail, "detail", kMaxText);
  to.active_requests = from.active_requests();
  to.queued_requests = from.queued_requests();
}

Offset<fb::EnsureInstance> Write(Builder& b, const EnsureInstance& value) {
  return fb::CreateEnsureInstance(b, Fb(value.model), value.spread, value.context, value.kv_type);
}
void Read(Reader& r, const fb::EnsureInstance& from, EnsureInstance& to) {
  r.Id(from.model(), to.model);
  to.spread = from.spread();
  to.context = from.context();
  to.kv_type = from.kv_type();
}

}  // namespace exo::wire::internal
