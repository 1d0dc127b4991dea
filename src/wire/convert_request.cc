// Requests, bulk transfers and steps.
#include <algorithm>
#include <cmath>

#include "wire/convert.h"
#include "wire/plan.h"

namespace exo::wire::internal {
namespace {

fb::StageTime FbTime(const StageTime& time) {
  return {*Fb(time.node), time.layer_begin, time.layer_end, time.microseconds};
}

// Tokens and floats side by side.
template <class T>
T FbPair(const LogitBias& one) {
  return {one.token, one.bias};
}
template <class T>
T FbPair(const TopLogprob& one) {
  return {one.token, one.logprob};
}
template <class T, class Value>
Offset<flatbuffers::Vector<const T*>> Pairs(Builder& b, const std::vector<Value>& values) {
  std::vector<T> structs;
  structs.reserve(values.size());
  for (const Value& value : values) structs.push_back(FbPair<T>(value));
  return b.CreateVectorOfStructs(structs);
}
// A logit or its change, or a logprob: impossible is a value, everything is not.
void Below(Reader& r, float from, float& to, const char* field) {
  if (std::isnan(from) || from == INFINITY) return r.Break(field);
  to = from;
}

Offset<fb::Grammar> WriteGrammar(Builder& b, const Grammar& value) {
  const auto write = [](Builder& builder, const GrammarPart& part) {
    const auto text = Text(builder, part.text, kMaxGrammarText);
    const auto begin = Text(builder, part.begin, kMaxText);
    const auto end = Text(builder, part.end, kMaxText);
    return fb::CreateGrammarPart(builder, static_cast<uint8_t>(part.kind), text, part.begin_token,
                                 begin, end, part.end_token);
  };
  const auto parts = Tables<fb::GrammarPart>(b, value.parts, kMaxGrammarParts, write);
  return fb::CreateGrammar(b, parts, value.triggered, value.required, value.repeated);
}
void ReadGrammar(Reader& r, const fb::Grammar* from, Grammar& to) {
  if (from == nullptr) return;  // of an older node
  r.List(from->parts(), to.parts, "parts", kMaxGrammarParts,
         [&](const fb::GrammarPart& one, GrammarPart& part) {
           // A kind of a newer version cannot be left out: the answer would be another one.
           if (one.kind() > static_cast<uint8_t>(GrammarKind::kChoices)) return r.Break("kind");
           part.kind = static_cast<GrammarKind>(one.kind());
           r.Text(one.text(), part.text, "text", kMaxGrammarText);
           part.begin_token = one.begin_token();
           r.Text(one.begin(), part.begin, "begin", kMaxText);
           r.Text(one.end(), part.end, "end", kMaxText);
           part.end_token = one.end_token();
         });
  to.triggered = from->triggered();
  to.required = from->required();
  to.repeated = from->repeated();
}

Offset<fb::SamplerSettings> WriteSampler(Builder& b, const SamplerSettings& value) {
  std::vector<uint8_t> order;
  for (const SamplerStep step : value.order) order.push_back(static_cast<uint8_t>(step));
  const auto order_at = Scalars(b, order);
  const auto bias = Pairs<fb::LogitBias>(b, value.logit_bias);
  const auto break_tokens = Scalars(b, value.dry_break_tokens);
  const auto break_sequences = Scalars(b, value.dry_break_sequences);
  const auto grammar = WriteGrammar(b, value.grammar);
  return fb::CreateSamplerSettings(
      b, value.temperature, value.top_k, value.top_p, value.min_p, value.repeat_penalty,
      value.presence_penalty, value.frequency_penalty, value.penalty_window, value.seed,
      value.choice, value.typical_p, value.top_n_sigma, value.xtc_probability, value.xtc_threshold,
      value.dry_multiplier, value.dry_base, value.dry_allowed_length, value.dry_window,
      value.mirostat, value.mirostat_tau, value.mirostat_eta, order_at, bias, break_tokens,
      break_sequences, value.logprobs, value.top_logprobs, grammar);
}
void ReadDry(Reader& r, const fb::SamplerSettings& from, SamplerSettings& to) {
  r.Finite(from.dry_multiplier(), to.dry_multiplier, "dry_multiplier");
  r.Finite(from.dry_base(), to.dry_base, "dry_base");
  to.dry_allowed_length = from.dry_allowed_length();
  to.dry_window = from.dry_window();
  r.Scalars(from.dry_break_tokens(), to.dry_break_tokens, "dry_break_tokens", kMaxDryBreaks);
  r.Scalars(from.dry_break_sequences(), to.dry_break_sequences, "dry_break_sequences",
            kMaxDryBreaks);
}
void ReadSampler(Reader& r, const fb::SamplerSettings* from, SamplerSettings& to) {
  if (from == nullptr) return r.Break("sampler");
  r.Finite(from->temperature(), to.temperature, "temperature");
  to.top_k = from->top_k();
  r.Finite(from->top_p(), to.top_p, "top_p");
  r.Finite(from->min_p(), to.min_p, "min_p");
  r.Finite(from->repeat_penalty(), to.repeat_penalty, "repeat_penalty");
  r.Finite(from->presence_penalty(), to.presence_penalty, "presence_penalty");
  r.Finite(from->frequency_penalty(), to.frequency_penalty, "frequency_penalty");
  to.penalty_window = from->penalty_window();
  to.seed = from->seed();
  to.choice = from->choice();
  r.Finite(from->typical_p(), to.typical_p, "typical_p");
  r.Finite(from->top_n_sigma(), to.top_n_sigma, "top_n_sigma");
  r.Finite(from->xtc_probability(), to.xtc_probability, "xtc_probability");
  r.Finite(from->xtc_threshold(), to.xtc_threshold, "xtc_threshold");
  ReadDry(r, *from, to);
  to.mirostat = from->mirostat();
  r.Finite(from->mirostat_tau(), to.mirostat_tau, "mirostat_tau");
  r.Finite(from->mirostat_eta(), to.mirostat_eta, "mirostat_eta");
  std::vector<uint8_t> order;
  r.Scalars(from->order(), order, "order", kMaxSamplerSteps);
  for (const uint8_t step : order) {
    // A step of a newer version cannot be left out: the tokens would be other ones.
    if (step > static_cast<uint8_t>(SamplerStep::kTemperature)) return r.Break("order");
    to.order.push_back(static_cast<SamplerStep>(step));
  }
  r.List(from->logit_bias(), to.logit_bias, "logit_bias", kMaxLogitBias,
         [&](const fb::LogitBias& one, LogitBias& bias) {
           bias.token = one.token();
           Below(r, one.bias(), bias.bias, "logit_bias");
         });
  to.logprobs = from->logprobs();
  to.top_logprobs = from->top_logprobs();
  if (to.top_logprobs > kMaxTopLogprobs) r.Break("top_logprobs");
  ReadGrammar(r, from->grammar(), to.grammar);
}

Offset<fb::SamplerState> WriteState(Builder& b, const SamplerState& value) {
  return fb::CreateSamplerState(b, value.begun, value.mirostat_mu, Scalars(b, value.grammar));
}
void ReadState(Reader& r, const fb::SamplerState* from, SamplerState& to) {
  if (from == nullptr) return;  // of an older node
  to.begun = from->begun();
  r.Finite(from->mirostat_mu(), to.mirostat_mu, "mirostat_mu");
  r.Scalars(from->grammar(), to.grammar, "grammar", kMaxGrammarState);
}

Offset<fb::Logprobs> WriteLogprobs(Builder& b, const Logprobs& value) {
  const auto sampled = Scalars(b, value.sampled);
  return fb::CreateLogprobs(b, sampled, Pairs<fb::TopLogprob>(b, value.top));
}
void ReadLogprobs(Reader& r, const fb::Logprobs* from, size_t tokens, Logprobs& to) {
  if (from == nullptr) return;
  r.Scalars(from->sampled(), to.sampled, "logprobs", kMaxAnswerTokens);
  for (float& one : to.sampled) Below(r, one, one, "logprobs");
  r.List(from->top(), to.top, "top_logprobs", kMaxAnswerTokens * kMaxTopLogprobs,
         [&](const fb::TopLogprob& one, TopLogprob& top) {
           top.token = one.token();
           Below(r, one.logprob(), top.logprob, "top_logprobs");
         });
  const size_t count = to.sampled.size();
  if (count != 0 && count != tokens) return r.Break("logprobs");
  const bool even = count == 0
                        ? to.top.empty()
                        : to.top.size() % count == 0 && to.top.size() / count <= kMaxTopLogprobs;
  if (!even) r.Break("top_logprobs");
}

Offset<fb::StepTrace> WriteStep(Builder& b, const StepTrace& value) {
  const size_t count = std::min<size_t>(value.stage_us.size(), kMaxStageTimes);
  const auto stages = b.CreateVector(value.stage_us.data(), count);
  return fb::CreateStepTrace(b, value.begun_us, value.returned_us, value.done_us, value.rows,
                             value.step_rows, value.outputs, stages);
}
void ReadSteps(Reader& r, const flatbuffers::Vector<Offset<fb::StepTrace>>* from,
               std::vector<StepTrace>& to) {
  r.List(from, to, "steps", kMaxStepTraces, [&](const fb::StepTrace& one, StepTrace& step) {
    step.begun_us = one.begun_us();
    step.returned_us = one.returned_us();
    step.done_us = one.done_us();
    step.rows = one.rows();
    step.step_rows = one.step_rows();
    step.outputs = one.outputs();
    r.Scalars(one.stage_us(), step.stage_us, "stage_us", kMaxStageTimes);
  });
}

}  // namespace

Offset<flatbuffers::Vector<const fb::StageTime*>> WriteTimes(Builder& b,
                                                             const std::vector<StageTime>& times) {
  std::vector<fb::StageTime> structs;
  const size_t count = std::min<size_t>(times.size(), kMaxStageTimes);
  structs.reserve(count);
  for (size_t i = 0; i < count; ++i) structs.push_back(FbTime(times[i]));
  return b.CreateVectorOfStructs(structs);
}
void ReadTimes(Reader& r, const flatbuffers::Vector<const fb::StageTime*>* from,
               std::vector<StageTime>& to) {
  r.List(from, to, "times", kMaxStageTimes, [&](const fb::StageTime& one, StageTime& time) {
    r.Id(&one.node(), time.node);
    time.layer_begin = one.layer_begin();
    time.layer_end = one.layer_end();
    time.microseconds = one.microseconds();
  });
}

Offset<flatbuffers::Vector<const fb::AdapterUse*>> WriteUses(Builder& b,
                                                             const std::vector<AdapterUse>& uses) {
  std::vector<fb::AdapterUse> structs;
  for (const AdapterUse& use : uses) structs.emplace_back(use.adapter, use.scale);
  return b.CreateVectorOfStructs(structs);
}
void ReadUses(Reader& r, const flatbuffers::Vector<const fb::AdapterUse*>* from,
              std::vector<AdapterUse>& to) {
  r.List(from, to, "adapters", kMaxAdaptersUsed, [&](const fb::AdapterUse& one, AdapterUse& use) {
    use.adapter = one.adapter();
    r.Finite(one.scale(), use.scale, "scale of an adapter");
  });
}

Offset<fb::Submit> Write(Builder& b, const Submit& value) {
  const auto prompt = Scalars(b, value.prompt);
  const auto sampler = WriteSampler(b, value.sampler);
  const auto stop = Scalars(b, value.stop_tokens);
  const auto adapters = WriteUses(b, value.adapters);
  const auto state = WriteState(b, value.state);
  const auto read = Scalars(b, value.read_tokens);
  return fb::CreateSubmit(b, Fb(value.request), Fb(value.plan), prompt, value.prompt_tokens,
                          value.max_new_tokens, sampler, stop, value.client, adapters, state,
                          value.prefix_scope, static_cast<uint8_t>(value.readout), read,
                          Fb(value.kept.plan), value.kept.positions);
}
void Read(Reader& r, const fb::Submit& from, Submit& to) {
  r.Id(from.request(), to.request);
  r.Id(from.plan(), to.plan);
  r.Scalars(from.prompt(), to.prompt, "prompt", kMaxPromptTokens);
  to.prompt_tokens = from.prompt_tokens();
  to.max_new_tokens = from.max_new_tokens();
  ReadSampler(r, from.sampler(), to.sampler);
  r.Scalars(from.stop_tokens(), to.stop_tokens, "stop_tokens", kMaxStopTokens);
  to.client = from.client();
  ReadUses(r, from.adapters(), to.adapters);
  ReadState(r, from.state(), to.state);
  to.prefix_scope = from.prefix_scope();
  // One of a newer version cannot be left out: an answer would come instead.
  if (from.readout() > static_cast<uint8_t>(Readout::kLogits)) return r.Break("readout");
  to.readout = static_cast<Readout>(from.readout());
  r.Scalars(from.read_tokens(), to.read_tokens, "read_tokens", kMaxReadTokens);
  r.Id(from.kept_plan(), to.kept.plan);
  to.kept.positions = from.kept_positions();
}

Offset<fb::Tokens> Write(Builder& b, const Tokens& value) {
  const auto tokens = Scalars(b, value.tokens);
  const auto logprobs = WriteLogprobs(b, value.logprobs);
  const auto state = WriteState(b, value.state);
  const auto stages = WriteTimes(b, value.stages);
  const auto steps = Tables<fb::StepTrace>(b, value.steps, kMaxStepTraces, WriteStep);
  return fb::CreateTokens(b, Fb(value.request), value.first_index, tokens, Fb(value.plan),
                          value.cached, logprobs, state, stages, steps, value.steps_dropped,
                          value.computed);
}
void Read(Reader& r, const fb::Tokens& from, Tokens& to) {
  r.Id(from.request(), to.request);
  to.first_index = from.first_index();
  r.Scalars(from.tokens(), to.tokens, "tokens", kMaxAnswerTokens);
  r.Id(from.plan(), to.plan);
  to.cached = from.cached();
  ReadLogprobs(r, from.logprobs(), to.tokens.size(), to.logprobs);
  ReadState(r, from.state(), to.state);
  ReadTimes(r, from.stages(), to.stages);
  ReadSteps(r, from.steps(), to.steps);
  to.steps_dropped = from.steps_dropped();
  to.computed = from.computed();
}

Offset<fb::Finished> Write(Builder& b, const Finished& value) {
  const auto message = Text(b, value.message, kMaxText);
  const auto stages = WriteTimes(b, value.stages);
  const auto values = Scalars(b, value.values);
  const auto steps = Tables<fb::StepTrace>(b, value.steps, kMaxStepTraces, WriteStep);
  return fb::CreateFinished(
      b, Fb(value.request), static_cast<uint8_t>(value.reason), static_cast<uint8_t>(value.code),
      message, value.generated, value.prefill_us, value.decode_us, stages, Fb(value.plan),
      value.drafted, value.accepted, values, value.moved, steps, value.steps_dropped);
}
void Read(Reader& r, const fb::Finished& from, Finished& to) {
  r.Id(from.request(), to.request);
  r.Enum(from.reason(), FinishReason::kCancelled, FinishReason::kError, to.reason);
  r.Code(from.code(), to.code);
  r.Text(from.message(), to.message, "message", kMaxText);
  to.generated = from.generated();
  to.prefill_us = from.prefill_us();
  to.decode_us = from.decode_us();
  to.drafted = from.drafted();
  to.accepted = from.accepted();
  ReadTimes(r, from.stages(), to.stages);
  r.Id(from.plan(), to.plan);
  r.Scalars(from.values(), to.values, "values", kMaxReadValues);
  for (const float value : to.values)
    if (!std::isfinite(value)) return r.Break("values");
  to.moved = from.moved();
  ReadSteps(r, from.steps(), to.steps);
  to.steps_dropped = from.steps_dropped();
}

Offset<fb::CancelRequest> Write(Builder& b, const CancelRequest& value) {
  return fb::CreateCancelRequest(b, Fb(value.request), Fb(value.plan));
}
void Read(Reader& r, const fb::CancelRequest& from, CancelRequest& to) {
  r.Id(from.request(), to.request);
  r.Id(from.plan(), to.plan);
}

Offset<fb::StaleRows> Write(Builder& b, const StaleRows& value) {
  return fb::CreateStaleRows(b, Fb(value.plan), Fb(value.request), value.through_step);
}
void Read(Reader& r, const fb::StaleRows& from, StaleRows& to) {
  r.Id(from.plan(), to.plan);
  r.Id(from.request(), to.request);
  to.through_step = from.through_step();
}

Offset<fb::LinkProbe> Write(Builder& b, const LinkProbe& value) {
  return fb::CreateLinkProbe(b, value.number);
}
void Read(Reader&, const fb::LinkProbe& from, LinkProbe& to) {
  to.number = from.number();
}

Offset<fb::LinkEcho> Write(Builder& b, const LinkEcho& value) {
  return fb::CreateLinkEcho(b, value.number);
}
void Read(Reader&, const fb::LinkEcho& from, LinkEcho& to) {
  to.number = from.number();
}

Offset<fb::ManifestRequest> Write(Builder& b, const ManifestRequest& value) {
  return fb::CreateManifestRequest(b, Fb(value.model), value.held_only);
}
void Read(Reader& r, const fb::ManifestRequest& from, ManifestRequest& to) {
  r.Id(from.model(), to.model);
  to.held_only = from.held_only();
}

Offset<fb::ManifestReply> Write(Builder& b, const ManifestReply& value) {
  return fb::CreateManifestReply(b, value.found, Scalars(b, value.bytes), Scalars(b, value.held));
}
void Read(Reader& r, const fb::ManifestReply& from, ManifestReply& to) {
  to.found = from.found();
  r.Scalars(from.bytes(), to.bytes, "manifest", kMaxManifest);
  r.Scalars(from.held(), to.held, "held tensors", kMaxHeldBytes);
}

Offset<fb::TensorRequest> Write(Builder& b, const TensorRequest& value) {
  return fb::CreateTensorRequest(b, Fb(value.model), Text(b, value.name), value.offset,
                                 value.bytes);
}
void Read(Reader& r, const fb::TensorRequest& from, TensorRequest& to) {
  r.Id(from.model(), to.model);
  r.Text(from.name(), to.name, "tensor name");
  to.offset = from.offset();
  to.bytes = from.bytes();
  if (to.bytes > kMaxTensorPiece) r.Break("bytes");
}

Offset<fb::TensorReply> Write(Builder& b, const TensorReply& value) {
  return fb::CreateTensorReply(b, value.found, Scalars(b, value.bytes));
}
void Read(Reader& r, const fb::TensorReply& from, TensorReply& to) {
  to.found = from.found();
  r.Scalars(from.bytes(), to.bytes, "tensor bytes", kMaxTensorPiece);
}

Offset<fb::PageRequest> Write(Builder& b, const PageRequest& value) {
  return fb::CreatePageRequest(b, Fb(value.plan), Fb(value.request), value.index,
                               Scalars(b, value.layers));
}
void Read(Reader& r, const fb::PageRequest& from, PageRequest& to) {
  r.Id(from.plan(), to.plan);
  r.Id(from.request(), to.request);
  to.index = from.index();
  r.Scalars(from.layers(), to.layers, "layers", kMaxLayers);
}

Offset<fb::PageReply> Write(Builder& b, const PageReply& value) {
  return fb::CreatePageReply(b, value.found, value.positions, value.layers,
                             Scalars(b, value.bytes));
}
void Read(Reader& r, const fb::PageReply& from, PageReply& to) {
  to.found = from.found();
  to.positions = from.positions();
  to.layers = from.layers();
  r.Scalars(from.bytes(), to.bytes, "page bytes", kMaxPageLayer);
}

namespace {

auto WritePages(Builder& b, const std::vector<StepPage>& pages) {
  std::vector<Offset<fb::StepPage>> tables;
  for (const StepPage& page : pages) {
    const auto adapters = WriteUses(b, page.adapters);
    tables.push_back(fb::CreateStepPage(b, Fb(page.request), page.first, page.count, Fb(page.key),
                                        adapters, page.lost, page.bare, page.moved));
  }
  return b.CreateVector(tables);
}
void ReadPage(Reader& r, const fb::StepPage& from, StepPage& to) {
  r.Id(from.request(), to.request);
  to.first = from.first();
  to.count = from.count();
  r.Id(from.key(), to.key);
  ReadUses(r, from.adapters(), to.adapters);
  to.lost = from.lost();
  to.bare = from.bare();
  to.moved = from.moved();
}

}  // namespace

Offset<fb::Step> Write(Builder& b, const Step& value) {
  std::vector<Offset<fb::StepItem>> tables;
  tables.reserve(value.items.size());
  for (const StepItem& item : value.items) {
    const auto adapters = WriteUses(b, item.adapters);
    tables.push_back(fb::CreateStepItem(b, Fb(item.request), item.first, item.count,
                                        item.output_first, item.output_count, item.cancelled,
                                        adapters));
  }
  const auto items = b.CreateVector(tables);
  std::vector<Offset<fb::StepTruncate>> cuts;
  for (const StepTruncate& cut : value.truncate)
    cuts.push_back(fb::CreateStepTruncate(b, Fb(cut.request), cut.length));
  const auto truncate = b.CreateVector(cuts);
  std::vector<Offset<fb::StepFork>> forks;
  for (const StepFork& one : value.fork)
    forks.push_back(fb::CreateStepFork(b, Fb(one.from), Fb(one.to), one.length));
  const auto fork = b.CreateVector(forks);
  const auto close = b.CreateVectorOfStructs(reinterpret_cast<const fb::Id16*>(value.close.data()),
                                             value.close.size());
  const auto times = WriteTimes(b, value.times);
  const auto restore = WritePages(b, value.restore);
  const auto store = WritePages(b, value.store);
  return fb::CreateStep(b, Fb(value.plan), value.step, items, close, times, truncate, fork, restore,
                        store);
}
void Read(Reader& r, const fb::Step& from, Step& to) {
  r.Id(from.plan(), to.plan);
  to.step = from.step();
  r.List(from.items(), to.items, "items", kMaxStepItems,
         [&](const fb::StepItem& one, StepItem& item) {
           r.Id(one.request(), item.request);
           item.first = one.first();
           item.count = one.count();
           item.output_first = one.output_first();
           item.output_count = one.output_count();
           item.cancelled = one.cancelled();
           ReadUses(r, one.adapters(), item.adapters);
         });
  r.List(from.truncate(), to.truncate, "truncate", kMaxStepItems,
         [&](const fb::StepTruncate& one, StepTruncate& cut) {
           r.Id(one.request(), cut.request);
           cut.length = one.length();
         });
  r.List(from.fork(), to.fork, "fork", kMaxStepItems, [&](const fb::StepFork& one, StepFork& fork) {
    r.Id(one.from(), fork.from);
    r.Id(one.to(), fork.to);
    fork.length = one.length();
  });
  const auto read = [&](const fb::StepPage& one, StepPage& page) { ReadPage(r, one, page); };
  r.List(from.restore(), to.restore, "restore", kMaxStepPages, read);
  r.List(from.store(), to.store, "store", kMaxStepPages, read);
  r.List(from.close(), to.close, "close", kMaxStepCloses,
         [&](const fb::Id16& one, RequestId& id) { r.Id(&one, id); });
  ReadTimes(r, from.times(), to.times);
}

Offset<fb::StepFailed> Write(Builder& b, const StepFailed& value) {
  return fb::CreateStepFailed(b, Fb(value.plan), value.step, static_cast<uint8_t>(value.code),
                              Text(b, value.message, kMaxText));
}
void Read(Reader& r, const fb::StepFailed& from, StepFailed& to) {
  r.Id(from.plan(), to.plan);
  to.step = from.step();
  r.Code(from.code(), to.code);
  r.Text(from.message(), to.message, "message", kMaxText);
}

Offset<fb::Partials> Write(Builder& b, const Partials& value) {
  return fb::CreatePartials(b, Fb(value.plan), value.step, value.sum, value.microseconds);
}
void Read(Reader& r, const fb::Partials& from, Partials& to) {
  r.Id(from.plan(), to.plan);
  to.step = from.step();
  to.sum = from.sum();
  to.microseconds = from.microseconds();
}

Offset<fb::LogitsWanted> Write(Builder& b, const LogitsWanted& value) {
  return fb::CreateLogitsWanted(b, Fb(value.plan), value.step, value.first, value.count,
                                value.best);
}
void Read(Reader& r, const fb::LogitsWanted& from, LogitsWanted& to) {
  r.Id(from.plan(), to.plan);
  to.step = from.step();
  to.first = from.first();
  to.count = from.count();
  to.best = from.best();
}

Offset<fb::ShardLogits> Write(Builder& b, const ShardLogits& value) {
  return fb::CreateShardLogits(b, Fb(value.plan), value.step, value.first, value.microseconds);
}
void Read(Reader& r, const fb::ShardLogits& from, ShardLogits& to) {
  r.Id(from.plan(), to.plan);
  to.step = from.step();
  to.first = from.first();
  to.microseconds = from.microseconds();
}

Offset<fb::PauseRequest> Write(Builder& b, const PauseRequest& value) {
  return fb::CreatePauseRequest(b, Fb(value.request), Fb(value.plan), value.paused);
}
void Read(Reader& r, const fb::PauseRequest& from, PauseRequest& to) {
  r.Id(from.request(), to.request);
  r.Id(from.plan(), to.plan);
  to.paused = from.paused();
}

Offset<fb::Queued> Write(Builder& b, const Queued& value) {
  return fb::CreateQueued(b, Fb(value.request), Fb(value.plan), value.before);
}
void Read(Reader& r, const fb::Queued& from, Queued& to) {
  r.Id(from.request(), to.request);
  r.Id(from.plan(), to.plan);
  to.before = from.before();
}

}  // namespace exo::wire::internal
