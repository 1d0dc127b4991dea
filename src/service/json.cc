#include "service/json.h"

#include <fmt/format.h>

#include <vector>

#include "service/http/limits.h"

namespace exo::service {
namespace {

// Builds the value from the parser's events and stops it where our own rules are broken. That a key
// occurs twice shows when it is put into its object, which costs nothing.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return Put(nullptr); }
  bool boolean(bool value) override { return Put(value); }
  bool number_integer(number_integer_t value) override { return Put(value); }
  bool number_unsigned(number_unsigned_t value) override { return Put(value); }
  bool number_float(number_float_t value, const string_t&) override { return Put(value); }
  bool string(string_t& value) override { return Put(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // not in JSON text
  bool start_object(size_t) override { return Open(Json::object()); }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& name) override {
    auto& object = open_.back()->get_ref<Json::object_t&>();
    const auto [at, is_new] = object.try_emplace(std::move(name));
    value_ = &at->second;
    if (!is_new)
      error_ = fmt::format("the key '{}' occurs twice in one object", at->first.substr(0, 64));
    return is_new;
  }
  bool parse_error(size_t, const std::string&, const Json::exception& error) override {
    error_ = error.what();
    return false;
  }

  Json Take() { return std::move(root_); }
  const std::string& error() const { return error_; }

 private:
  Json& Place(Json value) {
    if (open_.empty()) return root_ = std::move(value);
    if (open_.back()->is_array()) return open_.back()->emplace_back(std::move(value));
    return *value_ = std::move(value);
  }
  bool Put(Json value) {
    Place(std::move(value));
    return true;
  }
  bool Open(Json container) {
    if (open_.size() >= static_cast<size_t>(kMaxJsonDepth)) {
      error_ = fmt::format("more than {} levels of nesting", kMaxJsonDepth);
      return false;
    }
    open_.push_back(&Place(std::move(container)));
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Json*> open_;  // nothing is added beside an open container, so none moves
  Json* value_ = nullptr;    // of the key that came last
  std::string error_;
};

// Builds data from the parser's events: of the whole text, or of one member of the outermost
// object.
class DataBuilder final : public nlohmann::json_sax<Json> {
 public:
  DataBuilder() : wanted_(true) {}
  explicit DataBuilder(std::string_view member) : member_(member), level_(1) {}

  bool null() override { return Put({}); }
  bool boolean(bool value) override { return Put({value}); }
  bool number_integer(number_integer_t value) override { return Put({int64_t{value}}); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > INT64_MAX) return Put({static_cast<double>(value)});
    return Put({static_cast<int64_t>(value)});
  }
  bool number_float(number_float_t value, const string_t&) override { return Put({value}); }
  bool string(string_t& value) override { return Put({std::move(value)}); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open({model::DataMap()}); }
  bool start_array(size_t) override { return Open({model::DataList()}); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    if (!open_.empty()) {
      std::get<model::DataMap>(open_.back()->value).push_back({std::move(name), {}});
    } else if (depth_ == level_) {
      wanted_ = name == member_;
    }
    return true;
  }
  bool parse_error(size_t, const std::string&, const Json::exception&) override { return false; }

  model::Data Take() { return std::move(root_); }

 private:
  bool IsRoot() const { return open_.empty() && depth_ == level_ && wanted_; }
  model::Data& Place(model::Data value) {
    if (open_.empty()) return root_ = std::move(value);
    auto& within = open_.back()->value;
    if (auto* list = std::get_if<model::DataList>(&within))
      return list->emplace_back(std::move(value));
    return std::get<model::DataMap>(within).back().value = std::move(value);
  }
  // False, here and below: it is complete.
  bool Put(model::Data value) {
    const bool root = IsRoot();
    if (root || !open_.empty()) Place(std::move(value));
    return !root;
  }
  bool Open(model::Data container) {
    if (IsRoot() || !open_.empty()) open_.push_back(&Place(std::move(container)));
    ++depth_;
    return true;
  }
  bool Close() {
    --depth_;
    if (open_.empty()) return true;
    open_.pop_back();
    return !open_.empty();
  }

  const std::string_view member_;
  const size_t level_ = 0;
  bool wanted_ = false;
  size_t depth_ = 0;
  model::Data root_;
  std::vector<model::Data*> open_;  // nothing is added beside an open container, so none moves
};

// nlohmann's text without its "[json.exception...]" tag; what it quotes of the input stays short.
std::string Readable(std::string text) {
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
  Builder builder;
  if (Json::sax_parse(text.begin(), text.end(), &builder)) return builder.Take();
  return Fail(ErrorCode::kInvalid, "the body is not valid JSON: {}", Readable(builder.error()));
}

std::string MemberText(std::string_view text, const std::vector<std::string>& path) {
  using Ordered = nlohmann::ordered_json;
  // Of the outermost object only the member that is asked for is kept.
  bool wanted = true;
  const auto keep = [&](int depth, Ordered::parse_event_t event, Ordered& parsed) {
    if (depth == 1 && event == Ordered::parse_event_t::key) wanted = parsed == path.front();
    return wanted || depth == 0;
  };
  const Ordered body = Ordered::parse(text.begin(), text.end(), keep, false);
  const Ordered* at = &body;
  for (const std::string& name : path) {
    if (!at->is_object()) return "";
    const auto found = at->find(name);
    if (found == at->end()) return "";
    at = &*found;
  }
  return at->dump(-1, ' ', false, Ordered::error_handler_t::replace);
}

model::Data AsWritten(std::string_view text) {
  DataBuilder builder;
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.Take();
}

model::Data AsWritten(std::string_view text, std::string_view member) {
  DataBuilder builder(member);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.Take();
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace exo::service
