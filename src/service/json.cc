#include "service/json.h"

#include <set>
#include <stdexcept>
#include <vector>

#include "service/http/limits.h"

namespace exo::service {
namespace {

// Follows the parser's events and throws (caught below) where our own rules are broken.
class Rules {
 public:
  bool operator()(int depth, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (depth >= kMaxJsonDepth) {
        throw std::runtime_error(fmt::format("more than {} levels of nesting", kMaxJsonDepth));
      }
    }
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        throw std::runtime_error(
            fmt::format("the key '{}' occurs twice in one object", key.substr(0, 64)));
      }
    }
    return true;
  }

 private:
  std::vector<std::set<std::string>> keys_;
};

// nlohmann's text without its "[json.exception...]" tag; what it quotes of the input stays short.
std::string Readable(const char* what) {
  std::string text = what;
  if (const size_t end = text.find("] ");
      text.starts_with("[json.exception") && end != std::string::npos) {
    text.erase(0, end + 2);
  }
  if (const size_t read = text.find("; last read"); read != std::string::npos) text.resize(read);
  if (text.size() > 200) text.resize(200);
  return text;
}

}  // namespace

Result<Json> ParseJson(std::string_view text) {
  try {
    Rules rules;
    return Json::parse(text.begin(), text.end(), std::ref(rules));
  } catch (const std::exception& error) {
    return Fail(ErrorCode::kInvalid, "the body is not valid JSON: {}", Readable(error.what()));
  }
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace exo::service
