#include "service/readouts.h"

#include <chrono>
#include <cmath>
#include <memory>

#include "service/default_model.h"
#include "service/fields.h"
#include "service/request_fields.h"

namespace exo::service {
namespace {

// Enough to fill steps with rows of several texts; more would only queue before other clients.
constexpr size_t kTogether = 16;

double MillisecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

class Reader final : public Handler {
 public:
  Reader(Exchange& exchange, node::Api& api, std::vector<node::GenerateRequest> requests,
         ReadoutRoute route, Caller caller)
      : exchange_(exchange),
        api_(api),
        requests_(std::move(requests)),
        route_(std::move(route)),
        caller_(std::move(caller)),
        ones_(requests_.size()) {
    all_.values.resize(requests_.size());
  }

  void Begin() {
    while (next_ < requests_.size() && next_ - done_ < kTogether) {
      const size_t at = next_++;
      if (requests_[at].model.empty()) requests_[at].model = DefaultModel(api_);
      ones_[at] = std::make_unique<One>(*this, at);
      ones_[at]->generation = api_.Generate(std::move(requests_[at]), *ones_[at]);
    }
  }

 private:
  struct One final : node::GenerateSink {
    One(Reader& all, size_t position) : reader(all), at(position) {}
    void OnStarted(const node::StartReport&) override {}
    void OnDelta(const node::Delta&) override {}
    void OnDone(wire::FinishReason, const node::GenerateStats& stats) override {
      reader.Take(at, stats);
    }
    void OnError(const node::GenerateError& error) override { reader.Fail(error); }
    Reader& reader;
    const size_t at;
    std::unique_ptr<node::Generation> generation;
  };

  void Take(size_t at, const node::GenerateStats& stats) {
    if (ended_) return;
    all_.values[at] = stats.values;
    all_.prompt_tokens += stats.prompt_tokens;
    if (caller_.gate != nullptr) caller_.gate->CountTokens(caller_, stats.prompt_tokens);
    ++done_;
    if (done_ < requests_.size() && IsUsedUp()) return EndForQuota();
    if (done_ < requests_.size()) return Begin();
    ended_ = true;
    all_.milliseconds = MillisecondsSince(start_);
    exchange_.Send(route_.render(all_));
  }
  void Fail(const node::GenerateError& error) {
    if (std::exchange(ended_, true)) return;
    exchange_.Send(route_.fail(FromGenerateError(error, route_.field)));
  }
  bool IsUsedUp() const {
    return caller_.gate != nullptr && caller_.gate->TokensLeft(caller_) == uint64_t{0};
  }
  void EndForQuota() {
    ended_ = true;
    HttpResponse response = route_.fail(
        {429,
         fmt::format("the quota of the key '{}' was used up after {} of {} texts; try again "
                     "tomorrow",
                     caller_.name, done_, requests_.size()),
         "", "insufficient_quota"});
    std::erase_if(response.headers, [](const auto& one) { return one.first == "Retry-After"; });
    response.headers.emplace_back("x-should-retry", "false");
    exchange_.Send(response);
  }

  Exchange& exchange_;
  node::Api& api_;
  std::vector<node::GenerateRequest> requests_;
  const ReadoutRoute route_;
  const Caller caller_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  Readouts all_;
  size_t next_ = 0, done_ = 0;
  bool ended_ = false;
  std::vector<std::unique_ptr<One>> ones_;  // last: their generations call this object
};

Parsed<std::vector<TokenId>> ReadIds(const Json& list, const char* field) {
  std::vector<TokenId> ids;
  ids.reserve(list.size());
  for (const Json& id : list) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX)
      return BadValue(field, fmt::format("'{}' has {} where a token id is due", field, Shown(id)));
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

}  // namespace

Action ReadTexts(node::Api& api, std::vector<node::GenerateRequest> requests, ReadoutRoute route,
                 Caller caller) {
  return [&api, requests = std::move(requests), route = std::move(route),
          caller = std::move(caller)](Exchange& exchange) mutable -> std::unique_ptr<Handler> {
    if (requests.empty()) {
      exchange.Send(route.render({}));
      return nullptr;
    }
    auto reader = std::make_unique<Reader>(exchange, api, std::move(requests), std::move(route),
                                           std::move(caller));
    reader->Begin();
    return reader;
  };
}

Parsed<std::vector<node::GenerateRequest>> ReadInputs(const Json& body, const char* field,
                                                      const node::GenerateRequest& like) {
  const Json* input = Find(body, field);
  if (input == nullptr)
    return std::unexpected(
        ApiError{400, fmt::format("'{}' is missing", field), field, "missing_required_parameter"});
  const auto one = [&](const Json& text) -> Parsed<node::GenerateRequest> {
    node::GenerateRequest request = like;
    if (text.is_string()) {
      request.prompt = text.get<std::string>();
      if (request.prompt->empty())
        return BadValue(field, fmt::format("'{}' has an empty text", field));
    } else if (text.is_array() && !text.empty()) {
      request.prompt_ids = TRY(ReadIds(text, field));
    } else {
      return BadValue(field, fmt::format("'{}' must be a text, a list of texts, or token ids, not "
                                         "{}",
                                         field, Shown(text)));
    }
    return request;
  };
  std::vector<node::GenerateRequest> requests;
  if (!input->is_array() || (!input->empty() && (*input)[0].is_number())) {
    requests.push_back(TRY(one(*input)));
    return requests;
  }
  if (input->empty() || input->size() > kMaxTexts)
    return BadValue(field, fmt::format("'{}' has {} texts, but must have 1 to {}", field,
                                       input->size(), kMaxTexts));
  for (const Json& text : *input) requests.push_back(TRY(one(text)));
  return requests;
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
