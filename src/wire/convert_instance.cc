// Plans, instances and desired models.
#include "wire/convert.h"

namespace exo::wire::internal {
namespace {

Offset<flatbuffers::Vector<Offset<fb::AdapterRef>>> WriteAdapters(
    Builder& b, const std::vector<AdapterRef>& adapters) {
  return Tables<fb::AdapterRef>(
      b, adapters, kMaxAdapters, [](Builder& builder, const AdapterRef& one) {
        const auto name = Text(builder, one.name);
        return fb::CreateAdapterRef(builder, Fb(one.file), name, one.scale, one.bytes);
      });
}
void ReadAdapters(Reader& r, const flatbuffers::Vector<Offset<fb::AdapterRef>>* from,
                  std::vector<AdapterRef>& to) {
  r.List(from, to, "adapters", kMaxAdapters, [&](const fb::AdapterRef& one, AdapterRef& adapter) {
    r.Id(one.file(), adapter.file);
    r.Text(one.name(), adapter.name, "name of an adapter");
    r.Finite(one.scale(), adapter.scale, "scale of an adapter");
    adapter.bytes = one.bytes();
  });
}

// None: a null offset, which leaves the field out.
Offset<fb::DraftRef> WriteDraft(Builder& b, const std::optional<DraftRef>& draft) {
  if (!draft) return {};
  const auto name = Text(b, draft->name);
  return fb::CreateDraftRef(b, Fb(draft->file), name, draft->bytes);
}
void ReadDraft(Reader& r, const fb::DraftRef* from, std::optional<DraftRef>& to) {
  if (from == nullptr) return to.reset();
  DraftRef& draft = to.emplace();
  r.Id(from->file(), draft.file);
  r.Text(from->name(), draft.name, "name of a draft model");
  draft.bytes = from->bytes();
}

Offset<fb::Plan> WritePlan(Builder& b, const Plan& value) {
  const auto name = Text(b, value.model_name);
  const auto stages = Tables<fb::StagePlan>(
      b, value.stages, kMaxStages, [](Builder& builder, const StagePlan& stage) {
        const auto node = Fb(stage.node);
        if (!stage.shard) {
          return fb::CreateStagePlan(builder, node, stage.layer_begin, stage.layer_end, stage.bytes,
                                     nullptr, nullptr, nullptr, stage.streamed);
        }
        const ShardPlan& own = *stage.shard;
        const fb::ShardPlan shard(own.kv_begin, own.kv_end, own.ffn_begin, own.ffn_end,
                                  own.vocab_begin, own.vocab_end);
        const fb::ShardRange heads(own.head_begin, own.head_end);
        const fb::ShardRange experts(own.expert_begin, own.expert_end);
        return fb::CreateStagePlan(builder, node, stage.layer_begin, stage.layer_end, stage.bytes,
                                   &shard, &heads, &experts, stage.streamed);
      });
  const auto adapters = WriteAdapters(b, value.adapters);
  const auto draft = WriteDraft(b, value.draft);
  return fb::CreatePlan(b, Fb(value.id), Fb(value.model), name, Fb(value.owner), value.term,
                        value.nonce, stages, value.layers, value.context, value.kv_pages,
                        value.chunk, value.kv_type, adapters, draft,
                        static_cast<uint8_t>(value.codec));
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
           stage.streamed = one.streamed();
           const fb::ShardPlan* shard = one.shard();
           if (shard == nullptr) return;
           stage.shard = {shard->kv_begin(), shard->kv_end(),      shard->ffn_begin(),
                          shard->ffn_end(),  shard->vocab_begin(), shard->vocab_end()};
           if (const fb::ShardRange* heads = one.heads()) {
             stage.shard->head_begin = heads->begin();
             stage.shard->head_end = heads->end();
           }
           if (const fb::ShardRange* experts = one.experts()) {
             stage.shard->expert_begin = experts->begin();
             stage.shard->expert_end = experts->end();
           }
         });
  to.layers = from->layers();
  to.context = from->context();
  to.kv_pages = from->kv_pages();
  to.chunk = from->chunk();
  to.kv_type = from->kv_type();
  ReadAdapters(r, from->adapters(), to.adapters);
  ReadDraft(r, from->draft(), to.draft);
  // One that is not known makes another id of the plan.
  r.Enum(from->codec(), Codec::kInt4, Codec::kF32, to.codec);
}

Offset<fb::Cause> WriteCause(Builder& b, const Cause& value) {
  return fb::CreateCause(b, static_cast<uint8_t>(value.reason), static_cast<uint8_t>(value.code),
                         Fb(value.node), value.needed, value.available, value.budget,
                         Text(b, value.detail, kMaxText));
}
void ReadCause(Reader& r, const fb::Cause* from, Cause& to) {
  if (from == nullptr) return;
  r.Enum(from->reason(), Reason::kMoved, Reason::kUnspecified, to.reason);
  r.Code(from->code(), to.code);
  r.Id(from->node(), to.node);
  to.needed = from->needed();
  to.available = from->available();
  to.budget = from->budget();
  r.Text(from->detail(), to.detail, "detail", kMaxText);
}

void ReadUse(Reader& r, uint8_t from, Use& to) {
  r.Enum(from, Use::kPrompts, Use::kAuto, to);
}

Offset<fb::Expectation> WriteExpectation(Builder& b, const Expectation& value) {
  const auto stages =
      b.CreateVector(value.stage_ms.data(), std::min<size_t>(value.stage_ms.size(), kMaxStages));
  return fb::CreateExpectation(b, static_cast<uint8_t>(value.basis), value.decode_tokens_per_second,
                               value.prefill_tokens_per_second, value.ttft_ms, value.users,
                               value.total_tokens_per_second, stages,
                               static_cast<uint8_t>(value.use));
}
void ReadExpectation(Reader& r, const fb::Expectation* from, Expectation& to) {
  if (from == nullptr) return;
  r.Enum(from->basis(), PlanBasis::kFasterHybrid, PlanBasis::kUnknown, to.basis);
  r.Finite(from->decode_tokens_per_second(), to.decode_tokens_per_second, "tokens per second");
  r.Finite(from->prefill_tokens_per_second(), to.prefill_tokens_per_second, "tokens per second");
  r.Finite(from->ttft_ms(), to.ttft_ms, "ttft_ms");
  to.users = from->users();
  r.Finite(from->total_tokens_per_second(), to.total_tokens_per_second, "tokens per second");
  r.Scalars(from->stage_ms(), to.stage_ms, "stage_ms", kMaxStages);
  for (double& ms : to.stage_ms) r.Finite(ms, ms, "stage_ms");
  ReadUse(r, from->use(), to.use);
}

Offset<fb::PlanRival> WriteRival(Builder& b, const PlanRival& value) {
  const auto nodes = b.CreateVectorOfStructs(reinterpret_cast<const fb::Id32*>(value.nodes.data()),
                                             std::min<size_t>(value.nodes.size(), kMaxStages));
  const auto groups =
      b.CreateVector(value.groups.data(), std::min<size_t>(value.groups.size(), kMaxStages));
  return fb::CreatePlanRival(
      b, nodes, static_cast<uint8_t>(value.split), static_cast<uint8_t>(value.fate),
      value.decode_tokens_per_second, value.total_tokens_per_second, value.ttft_ms,
      Fb(value.short_of), value.needed, value.available, static_cast<uint8_t>(value.use), groups);
}
void ReadRival(Reader& r, const fb::PlanRival& from, PlanRival& to) {
  r.List(from.nodes(), to.nodes, "nodes", kMaxStages,
         [&](const fb::Id32& one, NodeId& value) { r.Id(&one, value); });
  r.Enum(from.split(), Split::kHybrid, Split::kAuto, to.split);
  r.Enum(from.fate(), RivalFate::kTooFewParts, RivalFate::kUnspecified, to.fate);
  r.Finite(from.decode_tokens_per_second(), to.decode_tokens_per_second, "tokens per second");
  r.Finite(from.total_tokens_per_second(), to.total_tokens_per_second, "tokens per second");
  r.Finite(from.ttft_ms(), to.ttft_ms, "ttft_ms");
  r.Id(from.short_of(), to.short_of);
  to.needed = from.needed();
  to.available = from.available();
  ReadUse(r, from.use(), to.use);
  r.Scalars(from.groups(), to.groups, "groups", kMaxStages);
}

Offset<fb::PlannedReplica> WriteReplica(Builder& b, const PlannedReplica& value) {
  const auto plan = WritePlan(b, value.plan);
  return fb::CreatePlannedReplica(b, plan, WriteExpectation(b, value.expected));
}
void ReadReplica(Reader& r, const fb::PlannedReplica& from, PlannedReplica& to) {
  ReadPlan(r, from.plan(), to.plan);
  ReadExpectation(r, from.expected(), to.expected);
}

}  // namespace

Offset<fb::HybridTime> WriteTime(Builder& b, const HybridTime& value) {
  return fb::CreateHybridTime(b, value.wall_ms, value.counter, Fb(value.node));
}
void ReadTime(Reader& r, const fb::HybridTime* from, HybridTime& to) {
  if (from == nullptr) return;
  // Beyond any clock a version could not be superseded any more.
  if (from->wall_ms() > kMaxWallMs) return r.Break("wall_ms");
  to.wall_ms = from->wall_ms();
  to.counter = from->counter();
  r.Id(from->node(), to.node);
}

Offset<fb::Reserve> Write(Builder& b, const Reserve& value) {
  const auto plan = WritePlan(b, value.plan);
  const auto write = [](Builder& builder, const FormerStage& stage) {
    return fb::CreateFormerStage(builder, Fb(stage.node), stage.layer_begin, stage.layer_end);
  };
  const auto stages = Tables<fb::FormerStage>(b, value.former.stages, kMaxStages, write);
  return fb::CreateReserve(b, plan, Fb(value.replaces), Fb(value.former.plan), stages);
}
void Read(Reader& r, const fb::Reserve& from, Reserve& to) {
  ReadPlan(r, from.plan(), to.plan);
  r.Id(from.replaces(), to.replaces);
  r.Id(from.former_plan(), to.former.plan);
  r.List(from.former_stages(), to.former.stages, "former stages", kMaxStages,
         [&](const fb::FormerStage& one, FormerStage& stage) {
           r.Id(one.node(), stage.node);
           stage.layer_begin = one.layer_begin();
           stage.layer_end = one.layer_end();
         });
}

Offset<fb::ReserveReply> Write(Builder& b, const ReserveReply& value) {
  return fb::CreateReserveReply(b, Fb(value.plan), value.granted, WriteCause(b, value.cause));
}
void Read(Reader& r, const fb::ReserveReply& from, ReserveReply& to) {
  r.Id(from.plan(), to.plan);
  to.granted = from.granted();
  ReadCause(r, from.cause(), to.cause);
}

Offset<fb::Commit> Write(Builder& b, const Commit& value) {
  return fb::CreateCommit(b, Fb(value.plan));
}
void Read(Reader& r, const fb::Commit& from, Commit& to) {
  r.Id(from.plan(), to.plan);
}

Offset<fb::Loaded> Write(Builder& b, const Loaded& value) {
  return fb::CreateLoaded(b, Fb(value.plan), value.ok, WriteCause(b, value.cause),
                          value.milliseconds);
}
void Read(Reader& r, const fb::Loaded& from, Loaded& to) {
  r.Id(from.plan(), to.plan);
  to.ok = from.ok();
  ReadCause(r, from.cause(), to.cause);
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
  return fb::CreateRelease(b, Fb(value.plan), WriteCause(b, value.cause));
}
void Read(Reader& r, const fb::Release& from, Release& to) {
  r.Id(from.plan(), to.plan);
  ReadCause(r, from.cause(), to.cause);
}

Offset<fb::InstanceLoad> Write(Builder& b, const InstanceLoad& value) {
  return fb::CreateInstanceLoad(b, Fb(value.plan), value.active_requests, value.queued_requests,
                                value.idle_ms);
}
void Read(Reader& r, const fb::InstanceLoad& from, InstanceLoad& to) {
  r.Id(from.plan(), to.plan);
  to.active_requests = from.active_requests();
  to.queued_requests = from.queued_requests();
  to.idle_ms = from.idle_ms();
}

Offset<fb::InstanceSummary> Write(Builder& b, const InstanceSummary& value) {
  const auto plan = WritePlan(b, value.plan);
  const auto cause = WriteCause(b, value.cause);
  const auto expected = WriteExpectation(b, value.expected);
  return fb::CreateInstanceSummary(
      b, plan, Fb(value.owner), static_cast<uint8_t>(value.state), cause, Fb(value.loading),
      value.loading_percent, value.active_requests, value.queued_requests, value.idle_ms, expected);
}
void Read(Reader& r, const fb::InstanceSummary& from, InstanceSummary& to) {
  ReadPlan(r, from.plan(), to.plan);
  r.Id(from.owner(), to.owner);
  // No request is sent to an instance in a state that is not known.
  r.Enum(from.state(), InstanceState::kGone, InstanceState::kReserving, to.state);
  ReadCause(r, from.cause(), to.cause);
  r.Id(from.loading(), to.loading);
  to.loading_percent = from.loading_percent();
  to.active_requests = from.active_requests();
  to.queued_requests = from.queued_requests();
  to.idle_ms = from.idle_ms();
  ReadExpectation(r, from.expected(), to.expected);
}

Offset<fb::DesiredUpdate> Write(Builder& b, const DesiredUpdate& value) {
  return fb::CreateDesiredUpdate(
      b, Tables<fb::DesiredModel>(
             b, value.models, kMaxDesired, [](Builder& builder, const DesiredModel& one) {
               const auto version = WriteTime(builder, one.version);
               const auto adapters = WriteAdapters(builder, one.adapters);
               const auto draft = WriteDraft(builder, one.draft);
               return fb::CreateDesiredModel(
                   builder, Fb(one.model), version, static_cast<uint8_t>(one.state),
                   static_cast<uint8_t>(one.split), one.context, one.kv_type, adapters, draft,
                   one.named, Fb(one.settings_of), one.keep_ms, static_cast<uint8_t>(one.codec),
                   static_cast<uint8_t>(one.use), one.users);
             }));
}
void Read(Reader& r, const fb::DesiredUpdate& from, DesiredUpdate& to) {
  r.List(from.models(), to.models, "models", kMaxDesired,
         [&](const fb::DesiredModel& one, DesiredModel& value) {
           r.Id(one.model(), value.model);
           ReadTime(r, one.version(), value.version);
           // A state that is not known neither loads nor ends anything.
           r.Enum(one.state(), DesiredState::kRunning, DesiredState::kOnDemand, value.state);
           r.Enum(one.split(), Split::kHybrid, Split::kAuto, value.split);
           value.context = one.context();
           value.kv_type = one.kv_type();
           ReadAdapters(r, one.adapters(), value.adapters);
           ReadDraft(r, one.draft(), value.draft);
           value.named = one.named();
           r.Id(one.settings_of(), value.settings_of);
           value.keep_ms = one.keep_ms();
           r.Enum(one.codec(), Codec::kInt4, Codec::kF32, value.codec);
           ReadUse(r, one.use(), value.use);
           value.users = one.users();
         });
}

Offset<fb::DesiredAck> Write(Builder& b, const DesiredAck& value) {
  return fb::CreateDesiredAck(
      b, Tables<fb::DesiredVersion>(
             b, value.models, kMaxDesired, [](Builder& builder, const DesiredAck::Entry& one) {
               const auto version = WriteTime(builder, one.version);
               return fb::CreateDesiredVersion(builder, Fb(one.model), version);
             }));
}
void Read(Reader& r, const fb::DesiredAck& from, DesiredAck& to) {
  r.List(from.models(), to.models, "models", kMaxDesired,
         [&](const fb::DesiredVersion& one, DesiredAck::Entry& entry) {
           r.Id(one.model(), entry.model);
           ReadTime(r, one.version(), entry.version);
         });
}

Offset<fb::EnsureInstance> Write(Builder& b, const EnsureInstance& value) {
  const auto known = WriteTime(b, value.known);
  const auto adapters = WriteAdapters(b, value.adapters);
  const auto draft = WriteDraft(b, value.draft);
  return fb::CreateEnsureInstance(
      b, Fb(value.model), static_cast<uint8_t>(value.split), value.context, value.kv_type, known,
      adapters, draft, value.named, Fb(value.settings_of), value.keep_ms,
      static_cast<uint8_t>(value.codec), static_cast<uint8_t>(value.use), value.users);
}
void Read(Reader& r, const fb::EnsureInstance& from, EnsureInstance& to) {
  r.Id(from.model(), to.model);
  r.Enum(from.split(), Split::kHybrid, Split::kAuto, to.split);
  to.context = from.context();
  to.kv_type = from.kv_type();
  ReadTime(r, from.known(), to.known);
  ReadAdapters(r, from.adapters(), to.adapters);
  ReadDraft(r, from.draft(), to.draft);
  to.named = from.named();
  r.Id(from.settings_of(), to.settings_of);
  to.keep_ms = from.keep_ms();
  r.Enum(from.codec(), Codec::kInt4, Codec::kF32, to.codec);
  ReadUse(r, from.use(), to.use);
  to.users = from.users();
}

Offset<fb::EnsureRefused> Write(Builder& b, const EnsureRefused& value) {
  return fb::CreateEnsureRefused(b, Fb(value.model), WriteCause(b, value.cause));
}
void Read(Reader& r, const fb::EnsureRefused& from, EnsureRefused& to) {
  r.Id(from.model(), to.model);
  ReadCause(r, from.cause(), to.cause);
}

Offset<fb::PlanRequest> Write(Builder& b, const PlanRequest& value) {
  const auto adapters = WriteAdapters(b, value.adapters);
  const auto draft = WriteDraft(b, value.draft);
  return fb::CreatePlanRequest(b, value.ticket, Fb(value.model), static_cast<uint8_t>(value.split),
                               value.context, value.kv_type, adapters, draft,
                               static_cast<uint8_t>(value.codec), static_cast<uint8_t>(value.use),
                               value.users);
}
void Read(Reader& r, const fb::PlanRequest& from, PlanRequest& to) {
  to.ticket = from.ticket();
  r.Id(from.model(), to.model);
  r.Enum(from.split(), Split::kHybrid, Split::kAuto, to.split);
  to.context = from.context();
  to.kv_type = from.kv_type();
  ReadAdapters(r, from.adapters(), to.adapters);
  ReadDraft(r, from.draft(), to.draft);
  r.Enum(from.codec(), Codec::kInt4, Codec::kF32, to.codec);
  ReadUse(r, from.use(), to.use);
  to.users = from.users();
}

Offset<fb::PlanReply> Write(Builder& b, const PlanReply& value) {
  const auto cause = WriteCause(b, value.cause);
  const auto plan = WritePlan(b, value.plan);
  const auto expected = WriteExpectation(b, value.expected);
  const auto rivals = Tables<fb::PlanRival>(b, value.rivals, kMaxRivals, WriteRival);
  const auto replicas = Tables<fb::PlannedReplica>(b, value.replicas, kMaxReplicas, WriteReplica);
  return fb::CreatePlanReply(b, value.ticket, value.ok, cause, plan, expected, rivals, replicas);
}
void Read(Reader& r, const fb::PlanReply& from, PlanReply& to) {
  to.ticket = from.ticket();
  to.ok = from.ok();
  ReadCause(r, from.cause(), to.cause);
  ReadPlan(r, from.plan(), to.plan);
  ReadExpectation(r, from.expected(), to.expected);
  r.List(from.rivals(), to.rivals, "rivals", kMaxRivals,
         [&](const fb::PlanRival& one, PlanRival& value) { ReadRival(r, one, value); });
  r.List(from.replicas(), to.replicas, "replicas", kMaxReplicas,
         [&](const fb::PlannedReplica& one, PlannedReplica& value) { ReadReplica(r, one, value); });
}

}  // namespace exo::wire::internal
