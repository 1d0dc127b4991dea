// Requests, bulk transfers and steps.
#include "wire/convert.h"

namespace exo::wire::internal {
namespace {

fb::StageTime FbTime(const StageTime& time) {
  return {*Fb(time.node), time.layer_begin, time.layer_end, time.microseconds};
}

Offset<fb::SamplerSettings> WriteSampler(Builder& b, const SamplerSettings& value) {
  return fb::CreateSamplerSettings(b, value.temperature, value.top_k, value.top_p, value.min_p,
                                   value.repeat_penalty, value.presence_penalty,
                                   value.frequency_penalty, value.penalty_window, value.seed);
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

Offset<fb::Submit> Write(Builder& b, const Submit& value) {
  const auto prompt = Scalars(b, value.prompt);
  const auto sampler = WriteSampler(b, value.sampler);
  const auto stop = Scalars(b, value.stop_tokens);
  return fb::CreateSubmit(b, Fb(value.request), Fb(value.plan), prompt, value.prompt_tokens,
                          value.max_new_tokens, sampler, stop);
}
void Read(Reader& r, const fb::Submit& from, Submit& to) {
  r.Id(from.request(), to.request);
  r.Id(from.plan(), to.plan);
  r.Scalars(from.prompt(), to.prompt, "prompt", kMaxPromptTokens);
  to.prompt_tokens = from.prompt_tokens();
  to.max_new_tokens = from.max_new_tokens();
  ReadSampler(r, from.sampler(), to.sampler);
  r.Scalars(from.stop_tokens(), to.stop_tokens, "stop_tokens", kMaxStopTokens);
}

Offset<fb::Tokens> Write(Builder& b, const Tokens& value) {
  return fb::CreateTokens(b, Fb(value.request), value.first_index, Scalars(b, value.tokens),
                          Fb(value.plan), value.cached);
}
void Read(Reader& r, const fb::Tokens& from, Tokens& to) {
  r.Id(from.request(), to.request);
  to.first_index = from.first_index();
  r.Scalars(from.tokens(), to.tokens, "tokens", kMaxAnswerTokens);
  r.Id(from.plan(), to.plan);
  to.cached = from.cached();
}

Offset<fb::Finished> Write(Builder& b, const Finished& value) {
  const auto message = Text(b, value.message, kMaxText);
  const auto stages = WriteTimes(b, value.stages);
  return fb::CreateFinished(b, Fb(value.request), static_cast<uint8_t>(value.reason),
                            static_cast<uint8_t>(value.code), message, value.generated,
                            value.prefill_us, value.decode_us, stages, Fb(value.plan));
}
void Read(Reader& r, const fb::Finished& from, Finished& to) {
  r.Id(from.request(), to.request);
  r.Enum(from.reason(), FinishReason::kCancelled, FinishReason::kError, to.reason);
  r.Code(from.code(), to.code);
  r.Text(from.message(), to.message, "message", kMaxText);
  to.generated = from.generated();
  to.prefill_us = from.prefill_us();
  to.decode_us = from.decode_us();
  ReadTimes(r, from.stages(), to.stages);
  r.Id(from.plan(), to.plan);
}

Offset<fb::CancelRequest> Write(Builder& b, const CancelRequest& value) {
  return fb::CreateCancelRequest(b, Fb(value.request), Fb(value.plan));
}
void Read(Reader& r, const fb::CancelRequest& from, CancelRequest& to) {
  r.Id(from.request(), to.request);
  r.Id(from.plan(), to.plan);
}

Offset<fb::ManifestRequest> Write(Builder& b, const ManifestRequest& value) {
  return fb::CreateManifestRequest(b, Fb(value.model));
}
void Read(Reader& r, const fb::ManifestRequest& from, ManifestRequest& to) {
  r.Id(from.model(), to.model);
}

Offset<fb::ManifestReply> Write(Builder& b, const ManifestReply& value) {
  return fb::CreateManifestReply(b, value.found, Scalars(b, value.bytes));
}
void Read(Reader& r, const fb::ManifestReply& from, ManifestReply& to) {
  to.found = from.found();
  r.Scalars(from.bytes(), to.bytes, "manifest", kMaxManifest);
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

Offset<fb::Step> Write(Builder& b, const Step& value) {
  std::vector<Offset<fb::StepItem>> tables;
  tables.reserve(value.items.size());
  for (const StepItem& item : value.items) {
    tables.push_back(fb::CreateStepItem(b, Fb(item.request), item.first, item.count,
                                        item.output_first, item.output_count, item.adapter,
                                        item.cancelled));
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
  return fb::CreateStep(b, Fb(value.plan), value.step, items, close, times, truncate, fork);
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
           item.adapter = one.adapter();
           item.cancelled = one.cancelled();
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

Offset<fb::PauseRequest> Write(Builder& b, const PauseRequest& value) {
  return fb::CreatePauseRequest(b, Fb(value.request), Fb(value.plan), value.paused);
}
void Read(Reader& r, const fb::PauseRequest& from, PauseRequest& to) {
  r.Id(from.request(), to.request);
  r.Id(from.plan(), to.plan);
  to.paused = from.paused();
}

}  // namespace exo::wire::internal
