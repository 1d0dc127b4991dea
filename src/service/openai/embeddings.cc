#include "service/openai/embeddings.h"

#include <openssl/evp.h>

#include <algorithm>
#include <bit>

#include "service/answer.h"
#include "service/fields.h"
#include "service/http/limits.h"
#include "service/openai/errors.h"
#include "service/prompts.h"
#include "service/readouts.h"
#include "service/request_fields.h"

namespace exo::service::openai {
namespace {

constexpr int64_t kMaxDimensions = 1 << 17;

std::string Base64(std::span<const float> values) {
  static_assert(std::endian::native == std::endian::little);
  const auto bytes = std::as_bytes(values);
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // and the zero that OpenSSL writes
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()),
                                   static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(size));
  return text;
}

struct EmbeddingsCall {
  std::string model;
  bool base64 = false;
  uint32_t dimensions = 0;
};

HttpResponse EmbeddingsReply(const EmbeddingsCall& call, const Readouts& readouts) {
  std::string body = R"({"object":"list","data":[)";
  for (size_t i = 0; i < readouts.values.size(); ++i) {
    const std::vector<float>& values = readouts.values[i];
    if (values.size() < call.dimensions) {
      return ErrorResponse({400,
                            fmt::format("'dimensions' is {}, but the embeddings of {} have {}",
                                        call.dimensions, call.model, values.size()),
                            "dimensions", "invalid_value"});
    }
    fmt::format_to(std::back_inserter(body), R"({}{{"object":"embedding","index":{},"embedding":)",
                   i == 0 ? "" : ",", i);
    body += call.base64 ? '"' + Base64(values) + '"' : NumbersJson(values);
    body += '}';
  }
  const Json usage = {{"prompt_tokens", readouts.prompt_tokens},
                      {"total_tokens", readouts.prompt_tokens}};
  body += fmt::format(R"(],"model":{},"usage":{}}})", Dump(call.model), Dump(usage));
  return {.body = std::move(body)};
}

ReadoutRoute RouteTo(const char* field, std::function<HttpResponse(const Readouts&)> render) {
  return {.render = std::move(render), .fail = &ErrorResponse, .field = field};
}

Parsed<std::string> ReadOneText(const Json& value, const char* field) {
  const Json* text = value.is_object() ? Find(value, "text") : &value;
  if (text == nullptr || !text->is_string())
    return BadValue(field, fmt::format("'{}' must have texts, not {}", field, Shown(value)));
  return text->get<std::string>();
}

Parsed<std::vector<std::string>> ReadTextList(const Json& body, const char* field) {
  const Json* value = Find(body, field);
  if (value == nullptr)
    return std::unexpected(
        ApiError{400, fmt::format("'{}' is missing", field), field, "missing_required_parameter"});
  std::vector<std::string> texts;
  if (!value->is_array()) {
    texts.push_back(TRY(ReadOneText(*value, field)));
    return texts;
  }
  if (value->size() > kMaxTexts)
    return BadValue(
        field, fmt::format("'{}' has {} texts, but may have {}", field, value->size(), kMaxTexts));
  for (const Json& text : *value) texts.push_back(TRY(ReadOneText(text, field)));
  return texts;
}

struct RerankCall {
  std::string model;
  std::vector<std::string> documents;
  size_t top = 0;
  bool return_documents = false;
  bool plain = false;  // text-embeddings-inference's form: asked for by "texts"
};

// Most relevant first, equal ones in their order.
HttpResponse RerankReply(const RerankCall& call, const Readouts& readouts) {
  std::vector<std::pair<double, size_t>> order;
  for (size_t i = 0; i < readouts.values.size(); ++i)
    order.emplace_back(RelevanceOf(readouts.values[i]), i);
  std::ranges::sort(order, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  order.resize(std::min(order.size(), call.top));
  Json results = Json::array();
  for (const auto& [score, index] : order) {
    Json result = {{"index", index}, {call.plain ? "score" : "relevance_score", score}};
    if (call.return_documents && call.plain) result["text"] = call.documents[index];
    if (call.return_documents && !call.plain)
      result["document"] = {{"text", call.documents[index]}};
    results.push_back(std::move(result));
  }
  if (call.plain) return {.body = Dump(results)};
  return {.body = Dump(Json{{"model", call.model},
                            {"object", "list"},
                            {"usage",
                             {{"prompt_tokens", readouts.prompt_tokens},
                              {"total_tokens", readouts.prompt_tokens}}},
                            {"results", std::move(results)}})};
}

}  // namespace

Parsed<Action> ReadEmbeddings(node::Api& api, HttpRequest request) {
  const Json body = TRY(ParseBody(request.body));
  EmbeddingsCall call{.model = TRY(ReadModelName(body, "model"))};
  const Json* format = Find(body, "encoding_format");
  call.base64 = format != nullptr && *format == "base64";
  if (format != nullptr && !call.base64 && *format != "float")
    return BadValue("encoding_format",
                    fmt::format("'encoding_format' is {}, but must be \"float\" or \"base64\"",
                                Shown(*format)));
  call.dimensions =
      static_cast<uint32_t>(TRY(ReadInteger(body, "dimensions", 1, kMaxDimensions)).value_or(0));
  node::GenerateRequest like{.model = call.model,
                             .readout = node::ReadoutRequest{.dimensions = call.dimensions}};
  TakeAsker(request, TRY(ReadText(body, "user")), like);
  return ReadTexts(
      api, TRY(ReadPrompts(body, "input", like, {.most = kMaxTexts})),
      RouteTo("input",
              [call](const Readouts& readouts) { return EmbeddingsReply(call, readouts); }),
      request.caller);
}

Parsed<Action> ReadRerank(node::Api& api, HttpRequest request) {
  const Json body = TRY(ParseBody(request.body));
  RerankCall call{.model = TRY(ReadOptionalModelName(body)),
                  .plain = Find(body, "texts") != nullptr};
  const char* field = call.plain ? "texts" : "documents";
  call.documents = TRY(ReadTextList(body, field));
  call.return_documents =
      TRY(ReadBool(body, call.plain ? "return_text" : "return_documents")).value_or(false);
  call.top = static_cast<size_t>(
      TRY(ReadInteger(body, "top_n", 1, INT32_MAX)).value_or(int64_t{kMaxTexts}));
  const Json* query = Find(body, "query");
  if (query == nullptr || !query->is_string()) return BadValue("query", "'query' must be a text");
  node::GenerateRequest like{.model = call.model};
  TakeAsker(request, TRY(ReadText(body, "user")), like);
  std::vector<node::GenerateRequest> requests;
  for (const std::string& document : call.documents)
    requests.push_back(PairRequest(like, query->get<std::string>(), document));
  return ReadTexts(
      api, std::move(requests),
      RouteTo(field, [call](const Readouts& readouts) { return RerankReply(call, readouts); }),
      request.caller);
}

Parsed<Action> ReadScore(node::Api& api, HttpRequest request) {
  const Json body = TRY(ParseBody(request.body));
  const std::string model = TRY(ReadModelName(body, "model"));
  const bool named = Find(body, "queries") != nullptr;
  const std::vector<std::string> first = TRY(ReadTextList(body, named ? "queries" : "text_1"));
  const std::vector<std::string> second = TRY(ReadTextList(body, named ? "documents" : "text_2"));
  if (first.empty() || (first.size() != 1 && first.size() != second.size()))
    return BadValue(named ? "queries" : "text_1",
                    fmt::format("{} texts cannot be paired with {}: one, or as many", first.size(),
                                second.size()));
  node::GenerateRequest like{.model = model};
  TakeAsker(request, TRY(ReadText(body, "user")), like);
  std::vector<node::GenerateRequest> requests;
  for (size_t i = 0; i < second.size(); ++i)
    requests.push_back(PairRequest(like, first[first.size() == 1 ? 0 : i], second[i]));
  return ReadTexts(
      api, std::move(requests),
      RouteTo(
          "text_2",
          [model](const Readouts& readouts) {
            Json data = Json::array();
            for (const std::vector<float>& values : readouts.values)
              data.push_back(
                  {{"index", data.size()}, {"object", "score"}, {"score", RelevanceOf(values)}});
            return HttpResponse{.body = Dump(Json{{"object", "list"},
                                                  {"model", model},
                                                  {"data", std::move(data)},
                                                  {"usage",
                                                   {{"prompt_tokens", readouts.prompt_tokens},
                                                    {"total_tokens", readouts.prompt_tokens}}}})};
          }),
      request.caller);
}

}  // namespace exo::service::openai
