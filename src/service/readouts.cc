#include "service/readouts.h"

#include <chrono>
#include <cmath>
#include <memory>

#include "service/batch.h"
#include "service/default_model.h"
#include "service/presets.h"
#include "service/route_headers.h"

namespace exo::service {
namespace {

double MillisecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

class Reader final : public Handler, public BatchSink {
 public:
  Reader(Exchange& exchange, node::Api& api, std::vector<node::GenerateRequest> requests,
         ReadoutRoute route, Caller caller)
      : exchange_(exchange),
        route_(std::move(route)),
        left_(requests.size()),
        batch_(api, std::move(requests), std::move(caller), *this) {
    all_.values.resize(left_);
  }

  void Begin() { batch_.Begin(); }

  void OnStarted(size_t, const node::StartReport&) override {}
  void OnDelta(size_t, const node::Delta&) override {}
  void OnDone(size_t part, wire::FinishReason, const node::GenerateStats& stats) override {
    all_.values[part] = stats.values;
    all_.prompt_tokens += stats.prompt_tokens;
    if (--left_ > 0) return;
    all_.milliseconds = MillisecondsSince(start_);
    exchange_.Send(route_.render(all_));
  }
  void OnError(const node::GenerateError& error) override {
    exchange_.Send(route_.fail(FromGenerateError(error, route_.field)));
  }

 private:
  Exchange& exchange_;
  const ReadoutRoute route_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  Readouts all_;
  size_t left_;  // texts to come
  Batch batch_;  // last: it calls this object
};

}  // namespace

Action ReadTexts(node::Api& api, std::vector<node::GenerateRequest> requests, ReadoutRoute route,
                 Caller caller) {
  return [&api, requests = std::move(requests), route = std::move(route),
          caller = std::move(caller)](Exchange& exchange) mutable -> std::unique_ptr<Handler> {
    if (requests.empty()) {
      exchange.Send(route.render({}));
      return nullptr;
    }
    for (node::GenerateRequest& request : requests) {
      if (request.model.empty()) request.model = DefaultModel(api);
      ApplyPreset(api, request);
    }
    exchange.AddHeaders(CallHeaders(requests[0].asker));
    auto reader = std::make_unique<Reader>(exchange, api, std::move(requests), std::move(route),
                                           std::move(caller));
    reader->Begin();
    return reader;
  };
}

std::string NumbersJson(std::span<const float> values) {
  std::string json = "[";
  for (const float value : values) {
    if (json.size() > 1) json += ',';
    fmt::format_to(std::back_inserter(json), "{}", value);
  }
  json += ']';
  return json;
}

double RelevanceOf(std::span<const float> yes_no) {
  return yes_no.size() == 2 ? 1 / (1 + std::exp(double{yes_no[1]} - double{yes_no[0]})) : 0;
}

node::GenerateRequest PairRequest(const node::GenerateRequest& like, std::string query,
                                  std::string document) {
  node::GenerateRequest request = like;
  request.pair = node::RankedPair{.query = std::move(query), .document = std::move(document)};
  request.readout = node::ReadoutRequest{.kind = wire::Readout::kLogits, .texts = {"yes", "no"}};
  return request;
}

}  // namespace exo::service
