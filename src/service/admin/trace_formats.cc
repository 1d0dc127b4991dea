#include "service/admin/trace_formats.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

namespace exo::service::admin {
namespace {

using node::TraceSpan;
using Kind = TraceSpan::Kind;

bool IsStep(const TraceSpan& span) {
  return span.kind == Kind::kPrompt || span.kind == Kind::kToken;
}
bool HasStage(const TraceSpan& span) {
  return span.kind == Kind::kStage || span.kind == Kind::kWire;
}

// What is known of a span beside its time and place.
Json DetailsOf(const TraceSpan& span) {
  Json details = Json::object();
  if (HasStage(span)) details["stage"] = span.stage;
  if (!span.to.empty()) details["to"] = span.to;
  if (span.token) details["token"] = *span.token;
  if (span.rows > 0) details["rows"] = span.rows;
  if (span.choice > 0) details["choice"] = span.choice;
  if (span.step) details["step"] = *span.step;
  return details;
}

// ---- Chrome ----

// Threads of a device's process. What may lie beside something of its own kind is drawn as an
// asynchronous event, which its viewer gives a line of its own.
constexpr int kRequestThread = 1, kSampleThread = 2, kStageThread = 10;

bool IsAsynchronous(const TraceSpan& span) {
  return IsStep(span) || span.kind == Kind::kWire;
}

int ThreadOf(const TraceSpan& span) {
  if (HasStage(span)) return kStageThread + static_cast<int>(span.stage);
  return span.kind == Kind::kSample ? kSampleThread : kRequestThread;
}

std::string ThreadName(int thread) {
  if (thread == kRequestThread) return "request";
  if (thread == kSampleThread) return "sampling";
  return fmt::format("stage {}", thread - kStageThread);
}

Json MetadataEvent(const char* what, int process, int thread, const std::string& name) {
  return {
      {"ph", "M"}, {"name", what}, {"pid", process}, {"tid", thread}, {"args", {{"name", name}}}};
}

// The processes of devices, in the order in which they appear.
class ChromeWriter {
 public:
  void Add(const TraceSpan& span) {
    const int process = ProcessOf(span.device), thread = ThreadOf(span);
    if (named_.emplace(std::pair(process, thread), true).second)
      events_.push_back(MetadataEvent("thread_name", process, thread, ThreadName(thread)));
    Json event = {{"name", node::TraceSpanName(span.kind)},
                  {"cat", IsStep(span) ? "step" : node::TraceSpanName(span.kind)},
                  {"pid", process},
                  {"tid", thread},
                  {"ts", span.start_us},
                  {"args", DetailsOf(span)}};
    if (!IsAsynchronous(span)) {
      event["ph"] = "X";
      event["dur"] = span.duration_us;
      return events_.push_back(std::move(event));
    }
    event["ph"] = "b";
    event["id"] = ++asynchronous_;
    events_.push_back(event);
    event["ph"] = "e";
    event["ts"] = span.start_us + span.duration_us;
    event.erase("args");
    events_.push_back(std::move(event));
  }
  Json Take() { return std::move(events_); }

 private:
  int ProcessOf(const std::string& device) {
    const auto [at, fresh] = processes_.emplace(device, static_cast<int>(processes_.size()) + 1);
    if (fresh) events_.push_back(MetadataEvent("process_name", at->second, 0, device));
    return at->second;
  }

  Json events_ = Json::array();
  std::map<std::string, int> processes_;
  std::map<std::pair<int, int>, bool> named_;
  uint64_t asynchronous_ = 0;
};

// ---- OpenTelemetry ----

constexpr int kInternalSpan = 1;  // SPAN_KIND_INTERNAL

// Of span `index` of the trace; 0 is the whole request.
std::string SpanId(const RequestId& request, uint64_t index) {
  uint64_t number = 0;
  std::memcpy(&number, request.bytes.data() + sizeof(number), sizeof(number));
  return fmt::format("{:016x}", number + index == 0 ? ~uint64_t{0} : number + index);
}

Json Attribute(std::string key, const Json& value) {
  if (value.is_string()) return {{"key", std::move(key)}, {"value", {{"stringValue", value}}}};
  // 64 bits are a string in protobuf's JSON.
  return {{"key", std::move(key)}, {"value", {{"intValue", value.dump()}}}};
}

class OtlpWriter {
 public:
  explicit OtlpWriter(const node::RequestTrace& trace) : trace_(trace) {
    uint64_t end_us = 0;
    for (const TraceSpan& span : trace.spans)
      end_us = std::max(end_us, span.start_us + span.duration_us);
    Json whole = SpanJson("request", 0, 0, end_us);
    whole["attributes"] = Json::array({Attribute("gen_ai.request.model", trace.model)});
    if (trace.dropped > 0) whole["droppedEventsCount"] = trace.dropped;
    spans_[trace.entry].push_back(std::move(whole));
  }

  void Add(uint64_t index, const TraceSpan& span) {
    Json json = SpanJson(node::TraceSpanName(span.kind), index, span.start_us, span.duration_us);
    if (IsStep(span) && span.step) steps_[*span.step] = index;
    const auto step = span.step && !IsStep(span) ? steps_.find(*span.step) : steps_.end();
    json["parentSpanId"] = SpanId(trace_.id, step == steps_.end() ? 0 : step->second);
    Json attributes = Json::array();
    const Json details = DetailsOf(span);
    for (const auto& [key, value] : details.items())
      attributes.push_back(Attribute("exo." + key, value));
    json["attributes"] = std::move(attributes);
    spans_[span.device].push_back(std::move(json));
  }

  Json Take() {
    Json resources = Json::array();
    for (auto& [device, spans] : spans_) {
      resources.push_back(
          {{"resource",
            {{"attributes",
              Json::array({Attribute("service.name", "exo"), Attribute("host.name", device)})}}},
           {"scopeSpans",
            Json::array({{{"scope", {{"name", "exo"}}}, {"spans", std::move(spans)}}})}});
    }
    return {{"resourceSpans", std::move(resources)}};
  }

 private:
  // Nanoseconds since 1970, as text like all 64-bit numbers.
  std::string NanoTime(uint64_t us) const {
    constexpr uint64_t kNsPerUs = 1000, kNsPerMs = 1'000'000;
    return std::to_string(static_cast<uint64_t>(trace_.started_ms) * kNsPerMs + us * kNsPerUs);
  }
  Json SpanJson(const char* name, uint64_t index, uint64_t start_us, uint64_t duration_us) const {
    return {{"traceId", trace_.id.Hex()},
            {"spanId", SpanId(trace_.id, index)},
            {"name", name},
            {"kind", kInternalSpan},
            {"startTimeUnixNano", NanoTime(start_us)},
            {"endTimeUnixNano", NanoTime(start_us + duration_us)}};
  }

  const node::RequestTrace& trace_;
  std::map<std::string, Json> spans_;   // by device
  std::map<uint32_t, uint64_t> steps_;  // the spans of steps
};

}  // namespace

Json TraceJson(const node::RequestTrace& trace) {
  Json spans = Json::array();
  for (const TraceSpan& span : trace.spans) {
    Json json = {{"name", node::TraceSpanName(span.kind)},
                 {"device", span.device},
                 {"start_us", span.start_us},
                 {"duration_us", span.duration_us}};
    json.update(DetailsOf(span));
    spans.push_back(std::move(json));
  }
  return {{"id", trace.id.Hex()},        {"model", trace.model},      {"entry", trace.entry},
          {"started", trace.started_ms}, {"spans", std::move(spans)}, {"dropped", trace.dropped}};
}

Json ChromeTraceJson(const node::RequestTrace& trace) {
  ChromeWriter writer;
  for (const TraceSpan& span : trace.spans) writer.Add(span);
  return {{"traceEvents", writer.Take()},
          {"displayTimeUnit", "ms"},
          {"otherData", {{"request", trace.id.Hex()}, {"model", trace.model}}}};
}

Json OtlpTraceJson(const node::RequestTrace& trace) {
  OtlpWriter writer(trace);
  for (size_t i = 0; i < trace.spans.size(); ++i) writer.Add(i + 1, trace.spans[i]);
  return writer.Take();
}

}  // namespace exo::service::admin
