#include "app/adapter_option.h"

#include <charconv>
#include <cmath>
#include <optional>

namespace exo::app {
namespace {

constexpr float kMaxScale = 1000;  // as in the API

std::optional<float> Number(std::string_view text) {
  float value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    return std::nullopt;
  return value;
}

}  // namespace

Result<node::AdapterChoice> ParseAdapter(const std::string& text) {
  node::AdapterChoice choice{.file = text};
  const size_t colon = text.rfind(':');
  if (colon != std::string::npos) {
    const std::string_view behind = std::string_view(text).substr(colon + 1);
    const auto scale = Number(behind);
    const bool name = behind.ends_with(".gguf") || behind.find('/') != std::string_view::npos;
    if (!scale && !name) {
      return Fail(
          ErrorCode::kInvalid,
          "\"{}\" is no adapter: '{}' behind the colon is no scale (a number from -{} to {}); "
          "a name with a colon is given with its ending .gguf",
          text, behind, kMaxScale, kMaxScale);
    }
    if (scale) choice = {.file = text.substr(0, colon), .scale = *scale};
  }
  if (choice.file.empty())
    return Fail(ErrorCode::kInvalid, "\"{}\" is no adapter: write FILE or FILE:SCALE", text);
  if (std::abs(choice.scale) > kMaxScale)
    return Fail(ErrorCode::kInvalid, "\"{}\": a scale is -{} to {}", text, kMaxScale, kMaxScale);
  return choice;
}

Result<node::NodeOptions::ModelAdapter> ParseModelAdapter(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos) {
    return Fail(ErrorCode::kInvalid,
                "\"{}\" does not say for which model: write MODEL=FILE or MODEL=FILE:SCALE", text);
  }
  return node::NodeOptions::ModelAdapter{.model = text.substr(0, equals),
                                         .adapter = TRY(ParseAdapter(text.substr(equals + 1)))};
}

}  // namespace exo::app
