#include "model/foreign_file.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

namespace exo::model {
namespace {

struct Kind {
  std::string_view begin;  // lower case
  std::string_view what;
};
constexpr std::array<Kind, 14> kKinds = {{
    {"version https://git-lfs.github.com/",
     "a Git LFS pointer, not the model it stands for: fetch it with `git lfs pull`"},
    {"<!doctype html", "an HTML page, not a model: the download gave a web page"},
    {"<html", "an HTML page, not a model: the download gave a web page"},
    {"<?xml", "an XML document, not a model: the download gave an error page"},
    {"pk\x03\x04", "a ZIP archive (a PyTorch checkpoint?), not a GGUF file: convert it first"},
    {"\x1f\x8b", "a gzip archive, not a GGUF file: unpack it first"},
    {"\x28\xb5\x2f\xfd", "a Zstandard archive, not a GGUF file: unpack it first"},
    {"bzh", "a bzip2 archive, not a GGUF file: unpack it first"},
    {"7z\xbc\xaf\x27\x1c", "a 7-Zip archive, not a GGUF file: unpack it first"},
    {"%pdf-", "a PDF document, not a GGUF file"},
    {"lmgg", "a model in the old GGML format: convert it to GGUF first"},
    {"fmgg", "a model in the old GGML format: convert it to GGUF first"},
    {"tjgg", "a model in the old GGML format: convert it to GGUF first"},
    {"algg", "an adapter in the old GGML format, not a model"},
}};

bool IsSafetensors(std::string_view text) {
  return text.size() > 10 && text[8] == '{' && text[7] == 0 && text[6] == 0 && text[5] == 0;
}

}  // namespace

std::string DescribeForeignFile(std::span<const std::byte> begin) {
  const std::string_view all(reinterpret_cast<const char*>(begin.data()), begin.size());
  if (all.empty()) return "an empty file";
  if (all.starts_with("GGUF")) return {};
  if (std::ranges::all_of(all, [](char c) { return c == 0; }))
    return "a file of zeros: its download has not begun or was lost";
  if (IsSafetensors(all))
    return "a safetensors file: give the folder that it lies in, with its config.json and "
           "tokenizer.json";
  const auto first = std::ranges::find_if_not(
      all.substr(0, 256), [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; });
  std::string text(first, all.substr(0, 512).end());
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  std::ranges::transform(text, text.begin(), [](unsigned char c) {
    return static_cast<char>(c < 128 ? std::tolower(c) : c);
  });
  for (const Kind& kind : kKinds) {
    if (text.starts_with(kind.begin)) return std::string(kind.what);
  }
  if (text.starts_with("{"))
    return "a JSON document, not a model: the download gave an answer of an API?";
  if (all.size() < 24) return "too short for a GGUF file: " + std::to_string(all.size()) + " bytes";
  return {};
}

}  // namespace exo::model
