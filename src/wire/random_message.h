// Random values of every message type, for property tests. Lengths stay small but include zero.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "wire/limits.h"
#include "wire/messages.h"

namespace exo::wire::test {

class RandomMessage {
 public:
  explicit RandomMessage(uint64_t seed) : rng_(seed) {}

  // A message of the given number with random fields.
  Message Make(size_t type) {
    return MakeAt(type, std::make_index_sequence<std::variant_size_v<Message>>());
  }
  Rng& rng() { return rng_; }

 private:
  template <size_t... kIndex>
  Message MakeAt(size_t type, std::index_sequence<kIndex...>) {
    Message message;
    ((kIndex == type ? Fill(message.emplace<kIndex>()) : void()), ...);
    return message;
  }

  // Every struct of messages.h, as "all of its fields".
  template <class... T>
  void All(T&... fields) {
    (Fill(fields), ...);
  }

  template <class T>
    requires std::is_integral_v<T>
  void Fill(T& value) {
    const uint64_t bits = rng_.Next() >> rng_.Below(64);  // all magnitudes
    value = static_cast<T>(rng_.Below(8) == 0 ? ~uint64_t{0} : bits);
  }
  void Fill(bool& value) { value = rng_.Below(2) == 1; }
  void Fill(float& value) { value = static_cast<float>(rng_.Uniform() * 4 - 2); }
  void Fill(double& value) { value = rng_.Uniform() * 1e6 - 5e5; }
  void Fill(std::string& value) {
    value.clear();
    for (uint64_t i = rng_.Below(40); i > 0; --i)
      value.push_back(static_cast<char>(rng_.Below(256)));
  }
  template <class Tag, size_t N>
  void Fill(Bytes<Tag, N>& id) {
    for (uint8_t& byte : id.bytes) Fill(byte);
  }
  template <class T>
  void Fill(std::vector<T>& values) {
    values.resize(rng_.Below(6));
    for (T& value : values) Fill(value);
  }
  template <class T>
  void Fill(std::optional<T>& value) {
    value.reset();
    if (rng_.Below(2) == 1) Fill(value.emplace());
  }
  template <class E>
  void FillEnum(E& value, E last) {
    value = static_cast<E>(rng_.Below(static_cast<uint64_t>(last) + 1));
  }
  void Fill(ErrorCode& v) { FillEnum(v, ErrorCode::kDenied); }
  void Fill(Channel& v) { FillEnum(v, Channel::kBulk); }
  void Fill(RefusalCode& v) { FillEnum(v, RefusalCode::kKeyInUse); }
  void Fill(InstanceState& v) { FillEnum(v, InstanceState::kGone); }
  void Fill(FinishReason& v) { FillEnum(v, FinishReason::kCancelled); }

  void Fill(Protocols& v) { All(v.oldest, v.newest); }
  void Fill(Hello& v) {
    All(v.protocols, v.numerics, v.channel, v.plan, v.boot_nonce, v.listen_port, v.name, v.version,
        v.proof);
  }
  void Fill(HelloReply& v) { All(v.accepted, v.code, v.reason, v.protocols); }
  void Fill(Address& v) { All(v.host, v.port); }
  void Fill(ModelHolding& v) {
    All(v.id, v.name, v.file_bytes, v.complete, v.trained_context, v.layers, v.architecture,
        v.pulled, v.adapter, v.content);
  }
  void Fill(DeviceKind& v) { FillEnum(v, DeviceKind::kGpu); }
  void Fill(FormatCost& v) { All(v.format, v.decode, v.prefill); }
  void Fill(DeviceRecord& v) {
    All(v.kind, v.name, v.isa, v.cores, v.memory_total, v.memory_budget, v.memory_reserved,
        v.decode_gbps, v.prefill_gops, v.load, v.layer_bytes, v.formats, v.duty, v.disk_gbps);
  }
  void Fill(PowerSource& v) { FillEnum(v, PowerSource::kBattery); }
  void Fill(Heat& v) { FillEnum(v, Heat::kHot); }
  void Fill(Presence& v) { FillEnum(v, Presence::kPresent); }
  void Fill(HealthRecord& v) {
    All(v.power, v.heat, v.owner, v.other_load, v.reasons, v.celsius, v.memory_used);
    if (rng_.Below(2) == 1) v.charge = static_cast<uint32_t>(rng_.Below(101));
    v.withheld = static_cast<uint32_t>(rng_.Below(kAllWithheld + 1));
  }
  void Fill(LinkRecord& v) { All(v.to, v.host, v.rtt_ms, v.rtt_p99_ms, v.mbps, v.measured_s); }
  void Fill(InterfaceKind& v) { FillEnum(v, InterfaceKind::kTunnel); }
  void Fill(InterfaceRecord& v) {
    All(v.name, v.kind, v.host, v.prefix);
    v.prefix %= kMaxPrefix + 1;
  }
  void Fill(NodeRecord& v) {
    All(v.id, v.incarnation, v.version, v.name, v.addresses, v.numerics, v.devices, v.api_port,
        v.models, v.downloads, v.awaits, v.health, v.links, v.interfaces);
  }
  void Fill(Heartbeat& v) {
    All(v.sequence, v.incarnation, v.record_version, v.echo, v.progress, v.wall_ms);
    v.wall_ms %= kMaxWallMs + 1;
  }
  void Fill(NodeUpdate& v) { Fill(v.record); }
  void Fill(RecordRequest&) {}
  void Fill(PeerHints::Hint& v) { All(v.id, v.addresses); }
  void Fill(PeerHints& v) { Fill(v.peers); }
  void Fill(Goodbye& v) { Fill(v.reason); }
  void Fill(AdapterRef& v) { All(v.file, v.name, v.scale, v.bytes); }
  void Fill(AdapterUse& v) { All(v.adapter, v.scale); }
  void Fill(std::vector<AdapterUse>& values) {
    values.resize(rng_.Below(kMaxAdaptersUsed + 1));
    for (AdapterUse& value : values) Fill(value);
  }
  void Fill(DraftRef& v) { All(v.file, v.name, v.bytes); }
  void Fill(ShardPlan& v) {
    All(v.kv_begin, v.kv_end, v.ffn_begin, v.ffn_end, v.vocab_begin, v.vocab_end, v.head_begin,
        v.head_end, v.expert_begin, v.expert_end);
  }
  void Fill(StagePlan& v) { All(v.node, v.layer_begin, v.layer_end, v.bytes, v.shard, v.streamed); }
  void Fill(Plan& v) {
    All(v.id, v.model, v.model_name, v.owner, v.term, v.nonce, v.stages, v.layers, v.context,
        v.kv_pages, v.chunk, v.kv_type, v.adapters, v.draft, v.codec);
  }
  void Fill(Reason& v) { FillEnum(v, Reason::kMoved); }
  void Fill(PlanBasis& v) { FillEnum(v, PlanBasis::kFasterHybrid); }
  void Fill(Codec& v) { FillEnum(v, Codec::kInt4); }
  void Fill(Use& v) { FillEnum(v, Use::kPrompts); }
  void Fill(RivalFate& v) { FillEnum(v, RivalFate::kTooFewParts); }
  void Fill(Split& v) { FillEnum(v, Split::kHybrid); }
  void Fill(DesiredState& v) { FillEnum(v, DesiredState::kRunning); }
  void Fill(Cause& v) { All(v.reason, v.code, v.node, v.needed, v.available, v.budget, v.detail); }
  void Fill(Expectation& v) {
    All(v.basis, v.decode_tokens_per_second, v.prefill_tokens_per_second, v.ttft_ms, v.users,
        v.total_tokens_per_second, v.stage_ms, v.use);
  }
  void Fill(HybridTime& v) {
    All(v.wall_ms, v.counter, v.node);
    v.wall_ms %= kMaxWallMs + 1;
  }
  void Fill(DesiredModel& v) {
    All(v.model, v.version, v.state, v.split, v.context, v.kv_type, v.adapters, v.draft, v.named,
        v.settings_of, v.keep_ms, v.codec, v.use, v.users);
  }
  void Fill(DesiredUpdate& v) { Fill(v.models); }
  void Fill(DesiredAck::Entry& v) { All(v.model, v.version); }
  void Fill(DesiredAck& v) { Fill(v.models); }
  void Fill(EnsureRefused& v) { All(v.model, v.cause); }
  void Fill(InstanceLoad& v) { All(v.plan, v.active_requests, v.queued_requests, v.idle_ms); }
  void Fill(PlanRequest& v) {
    All(v.ticket, v.model, v.split, v.context, v.kv_type, v.adapters, v.draft, v.codec, v.use,
        v.users);
  }
  void Fill(PlanRival& v) {
    All(v.nodes, v.split, v.fate, v.decode_tokens_per_second, v.total_tokens_per_second, v.ttft_ms,
        v.short_of, v.needed, v.available, v.use, v.groups);
  }
  void Fill(PlannedReplica& v) { All(v.plan, v.expected); }
  void Fill(PlanReply& v) {
    All(v.ticket, v.ok, v.cause, v.plan, v.expected, v.rivals, v.replicas);
  }
  void Fill(FormerStage& v) { All(v.node, v.layer_begin, v.layer_end); }
  void Fill(Reserve& v) { All(v.plan, v.replaces, v.former.plan, v.former.stages); }
  void Fill(ReserveReply& v) { All(v.plan, v.granted, v.cause); }
  void Fill(Commit& v) { Fill(v.plan); }
  void Fill(Loaded& v) { All(v.plan, v.ok, v.cause, v.milliseconds); }
  void Fill(LoadProgress& v) { All(v.plan, v.done_bytes, v.total_bytes); }
  void Fill(InstanceReady& v) { Fill(v.plan); }
  void Fill(LeaseRenew& v) { Fill(v.plan); }
  void Fill(Release& v) { All(v.plan, v.cause); }
  void Fill(InstanceSummary& v) {
    All(v.plan, v.owner, v.state, v.cause, v.loading, v.loading_percent, v.active_requests,
        v.queued_requests, v.idle_ms, v.expected);
  }
  void Fill(EnsureInstance& v) {
    All(v.model, v.split, v.context, v.kv_type, v.known, v.adapters, v.draft, v.named,
        v.settings_of, v.keep_ms, v.codec, v.use, v.users);
  }
  void Fill(SamplerSettings& v) {
    All(v.temperature, v.top_k, v.top_p, v.min_p, v.repeat_penalty, v.presence_penalty,
        v.frequency_penalty, v.penalty_window, v.seed, v.choice, v.typical_p, v.top_n_sigma,
        v.xtc_probability, v.xtc_threshold, v.dry_multiplier, v.dry_base, v.dry_allowed_length,
        v.dry_window, v.mirostat, v.mirostat_tau, v.mirostat_eta, v.order, v.logit_bias,
        v.dry_break_tokens, v.dry_break_sequences, v.logprobs, v.top_logprobs, v.grammar);
    v.top_logprobs %= kMaxTopLogprobs + 1;
  }
  void Fill(Grammar& v) { All(v.parts, v.triggered, v.required, v.repeated); }
  void Fill(GrammarPart& v) { All(v.kind, v.text, v.begin_token, v.begin, v.end, v.end_token); }
  void Fill(GrammarKind& v) { FillEnum(v, GrammarKind::kChoices); }
  void Fill(SamplerStep& v) { FillEnum(v, SamplerStep::kTemperature); }
  void Fill(LogitBias& v) { All(v.token, v.bias); }
  void Fill(SamplerState& v) { All(v.begun, v.mirostat_mu, v.grammar); }
  void Fill(TopLogprob& v) { All(v.token, v.logprob); }
  void Fill(Submit& v) {
    All(v.request, v.plan, v.prompt, v.prompt_tokens, v.max_new_tokens, v.sampler, v.stop_tokens,
        v.client, v.adapters, v.state, v.prefix_scope, v.readout, v.read_tokens, v.kept.plan,
        v.kept.positions);
  }
  void Fill(Readout& v) { FillEnum(v, Readout::kLogits); }
  void Fill(Tokens& v) {
    All(v.request, v.first_index, v.tokens, v.plan, v.cached, v.state, v.stages, v.steps,
        v.steps_dropped, v.computed);
    const size_t tokens = rng_.Below(2) * v.tokens.size();  // asked for or not
    v.logprobs.sampled.resize(tokens);
    v.logprobs.top.resize(tokens * rng_.Below(kMaxTopLogprobs + 1));
    for (float& one : v.logprobs.sampled) Fill(one);
    for (TopLogprob& one : v.logprobs.top) Fill(one);
  }
  void Fill(StepTrace& v) {
    All(v.begun_us, v.returned_us, v.done_us, v.rows, v.step_rows, v.outputs, v.stage_us);
  }
  void Fill(StageTime& v) { All(v.node, v.layer_begin, v.layer_end, v.microseconds); }
  void Fill(Finished& v) {
    All(v.request, v.reason, v.code, v.message, v.generated, v.prefill_us, v.decode_us, v.stages,
        v.plan, v.drafted, v.accepted, v.values, v.moved, v.steps, v.steps_dropped);
  }
  void Fill(CancelRequest& v) { All(v.request, v.plan); }
  void Fill(StaleRows& v) { All(v.plan, v.request, v.through_step); }
  void Fill(LinkProbe& v) { Fill(v.number); }
  void Fill(LinkEcho& v) { Fill(v.number); }
  void Fill(PauseRequest& v) { All(v.request, v.plan, v.paused); }
  void Fill(Queued& v) { All(v.request, v.plan, v.before); }
  void Fill(PairKind& v) { FillEnum(v, PairKind::kAsk); }
  void Fill(PairRefusal& v) { FillEnum(v, PairRefusal::kPending); }
  void Fill(TrustRole& v) { FillEnum(v, TrustRole::kForgotten); }
  void Fill(PairStart& v) { All(v.kind, v.share, v.name); }
  void Fill(PairShare& v) { Fill(v.share); }
  void Fill(PairConfirm& v) { Fill(v.tag); }
  void Fill(PairGrant& v) { All(v.tag, v.sealed); }
  void Fill(PairRefused& v) { All(v.code, v.reason); }
  void Fill(TrustEntry& v) { All(v.id, v.role, v.name); }
  void Fill(DeleteModel& v) { All(v.ticket, v.model); }
  void Fill(ModelDeleted& v) { All(v.ticket, v.ok, v.freed_bytes, v.said); }
  void Fill(TrustUpdate& v) {
    All(v.epoch, v.secret, v.entries);
    v.secret.resize(rng_.Below(2) * kClusterSecretBytes);
  }
  void Fill(ManifestRequest& v) { All(v.model, v.held_only); }
  void Fill(ManifestReply& v) { All(v.found, v.bytes, v.held); }
  void Fill(TensorRequest& v) {
    All(v.model, v.name, v.offset, v.bytes);
    v.bytes %= kMaxTensorPiece + 1;
  }
  void Fill(TensorReply& v) { All(v.found, v.bytes); }
  void Fill(PageRequest& v) { All(v.plan, v.request, v.index, v.layers); }
  void Fill(PageReply& v) { All(v.found, v.positions, v.layers, v.bytes); }
  void Fill(StepItem& v) {
    All(v.request, v.first, v.count, v.output_first, v.output_count, v.cancelled, v.adapters);
  }
  void Fill(StepTruncate& v) { All(v.request, v.length); }
  void Fill(StepFork& v) { All(v.from, v.to, v.length); }
  void Fill(StepPage& v) {
    All(v.request, v.first, v.count, v.key, v.adapters, v.lost, v.bare, v.moved);
  }
  void Fill(Step& v) {
    All(v.plan, v.step, v.items, v.close, v.times, v.truncate, v.fork, v.restore, v.store);
  }
  void Fill(Partials& v) { All(v.plan, v.step, v.sum, v.microseconds); }
  void Fill(LogitsWanted& v) { All(v.plan, v.step, v.first, v.count, v.best); }
  void Fill(ShardLogits& v) { All(v.plan, v.step, v.first, v.microseconds); }
  void Fill(StepFailed& v) { All(v.plan, v.step, v.code, v.message); }

  void Fill(RowVersion& v) {
    All(v.number, v.key.owner, v.key.conversation, v.key.message, v.updated_ms, v.device, v.deleted,
        v.cleared_ms);
    v.updated_ms %= kMaxWallMs + 1;
    v.cleared_ms %= v.updated_ms + 1;
    if (!v.key.message.IsZero()) v.cleared_ms = 0;
  }
  void Fill(ConversationRow& v) { All(v.version, v.text, v.data); }
  void Fill(ConversationNews& v) { All(v.epoch, v.last); }
  void Fill(ConversationPull& v) { All(v.epoch, v.after, v.rows); }
  void Fill(ConversationVersions& v) { All(v.epoch, v.after, v.through, v.last, v.versions); }
  void Fill(ConversationRows& v) { All(v.epoch, v.through, v.rows); }

  Rng rng_;
};

}  // namespace exo::wire::test
