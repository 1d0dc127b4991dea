#include "fetch/reference.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"

namespace exo::fetch {
namespace {

constexpr size_t kMaxText = 2048;  // of a whole reference
constexpr size_t kMaxWord = 96;    // of an owner or a repository, as on the hub

char Lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
char Upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}
bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
bool IsWordChar(char c) {
  return IsDigit(c) || (Lower(c) >= 'a' && Lower(c) <= 'z');
}
std::string Lowered(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), Lower);
  return lower;
}
bool IsGguf(std::string_view name) {
  return Lowered(name).ends_with(".gguf");
}

bool TakePrefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// Letters, digits, '.', '-' and '_', and no name of a folder such as "..".
bool IsWord(std::string_view word) {
  return !word.empty() && word.size() <= kMaxWord && word.find("..") == std::string_view::npos &&
         word.front() != '.' && word.front() != '-' && std::ranges::all_of(word, [](char c) {
           return IsWordChar(c) || c == '.' || c == '-' || c == '_';
         });
}

std::unexpected<Error> BadReference(std::string_view text, std::string_view why) {
  return Fail(ErrorCode::kInvalid,
              "'{}' names no model: {}; write hf:OWNER/REPO:QUANTIZATION, a name of the Ollama "
              "registry such as llama3.2:1b, or https://HOST/FILE.gguf",
              text.substr(0, 256), why);
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t end = text.find(separator); end != std::string_view::npos;
       end = text.find(separator)) {
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  parts.push_back(text);
  return parts;
}

// OWNER/REPO[:CHOICE][@REVISION]
Result<Reference> ParseHub(std::string_view whole, std::string_view text) {
  Reference reference{.kind = SourceKind::kHub};
  if (const size_t at = text.rfind('@'); at != std::string_view::npos) {
    reference.revision = text.substr(at + 1);
    text = text.substr(0, at);
    if (!IsSafeFileName(reference.revision)) return BadReference(whole, "its revision is none");
    if (reference.revision == "main") reference.revision.clear();
  }
  if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    reference.choice = text.substr(colon + 1);
    text = text.substr(0, colon);
    const bool is_file = IsGguf(reference.choice) && IsSafeFileName(reference.choice) &&
                         reference.choice.find('@') == reference.choice.npos;
    if (!is_file && !IsWord(reference.choice))
      return BadReference(whole, "what stands behind the colon is no quantization and no file");
    if (Lowered(reference.choice) == "latest") reference.choice.clear();
    if (!is_file) std::ranges::transform(reference.choice, reference.choice.begin(), Upper);
  }
  const auto words = Split(text, '/');
  if (words.size() != 2 || !IsWord(words[0]) || !IsWord(words[1]))
    return BadReference(whole, "a repository of the hub is OWNER/REPO");
  reference.repository = text;
  return reference;
}

// OWNER/REPO/resolve/REVISION/FILE, as a browser shows it, or OWNER/REPO alone.
Result<Reference> ParseHubPage(std::string_view whole, std::string_view text) {
  text = text.substr(0, text.find_first_of("?#"));
  const auto words = Split(text, '/');
  if (words.size() < 5) return ParseHub(whole, text);
  if (words[2] != "resolve" && words[2] != "blob" && words[2] != "raw")
    return BadReference(whole, "it is no page of a file");
  const size_t file = static_cast<size_t>(words[4].data() - text.data());
  return ParseHub(whole,
                  fmt::format("{}/{}:{}@{}", words[0], words[1], text.substr(file), words[3]));
}

// [OWNER/]NAME[:TAG]
Result<Reference> ParseRegistry(std::string_view whole, std::string_view text, std::string host) {
  Reference reference{.kind = SourceKind::kRegistry, .host = std::move(host), .choice = "latest"};
  if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    reference.choice = text.substr(colon + 1);
    text = text.substr(0, colon);
  }
  const auto words = Split(text, '/');
  if (words.size() > 2 || !std::ranges::all_of(words, IsWord) || !IsWord(reference.choice))
    return BadReference(whole, "a model of a registry is NAME:TAG or OWNER/NAME:TAG");
  reference.repository = words.size() == 1 ? fmt::format("library/{}", text) : std::string(text);
  return reference;
}

// HOST or HOST:PORT, which has a dot or a port.
bool IsHost(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view port = colon == text.npos ? "443" : text.substr(colon + 1);
  const std::string_view host = text.substr(0, colon);
  const bool number = !port.empty() && port.size() <= 5 && std::ranges::all_of(port, IsDigit);
  return IsWord(host) && number && (colon != text.npos || host.find('.') != host.npos);
}

Result<Reference> ParseUrl(std::string_view text) {
  std::string_view rest = text;
  TakePrefix(rest, "https://");
  for (const std::string_view hub : {"huggingface.co/", "www.huggingface.co/", "hf.co/"}) {
    if (TakePrefix(rest, hub)) return ParseHubPage(text, rest);
  }
  const std::string_view path = rest.substr(0, rest.find_first_of("?#"));
  if (path.find('@') != path.npos) return BadReference(text, "it holds a password");
  if (path.find('/') == path.npos || !IsGguf(path) || StemOf(path).empty())
    return BadReference(text, "the file behind the address must end in .gguf");
  return Reference{.kind = SourceKind::kUrl, .repository = std::string(text)};
}

}  // namespace

std::string Reference::Text() const {
  if (kind == SourceKind::kUrl) return repository;
  if (kind == SourceKind::kRegistry)
    return fmt::format("{}{}:{}", host.empty() ? "ollama:" : host + "/", repository, choice);
  return fmt::format("hf:{}{}{}{}{}", repository, choice.empty() ? "" : ":", choice,
                     revision.empty() ? "" : "@", revision);
}

Result<Reference> ParseReference(std::string_view text) {
  const std::string_view whole = text;
  if (text.empty() || text.size() > kMaxText || !IsUtf8(text) || Printable(text) != text ||
      text.find_first_of(" \\") != text.npos)
    return BadReference(Printable(text.substr(0, 256)), "it is empty, too long or no plain text");
  if (text.starts_with("https://")) return ParseUrl(text);
  if (text.find("://") != text.npos)
    return BadReference(text,
                        "only https:// is asked: what comes otherwise can be changed on its way");
  if (TakePrefix(text, "hf:") || TakePrefix(text, "hf.co/") || TakePrefix(text, "huggingface.co/"))
    return ParseHub(whole, text);
  if (TakePrefix(text, "ollama:") || TakePrefix(text, "registry.ollama.ai/"))
    return ParseRegistry(whole, text, "");
  const size_t slash = text.find('/');
  if (slash == text.npos) return ParseRegistry(whole, text, "");
  const std::string_view first = text.substr(0, slash);
  const std::string_view rest = text.substr(slash + 1);
  if (IsHost(first) && rest.find('/') != rest.npos)
    return ParseRegistry(whole, rest, std::string(first));
  return ParseHub(whole, text);
}

bool IsSafeFileName(std::string_view text) {
  if (text.empty() || text.size() > 512 || !IsUtf8(text) || Printable(text) != text) return false;
  return std::ranges::all_of(Split(text, '/'), [](std::string_view word) {
    return !word.empty() && word.size() <= 200 && word != "." && word != ".." &&
           word.find_first_of("\\:*?\"<>|%#") == word.npos;
  });
}

// ---- files of a repository ----

namespace {

// "NAME-00002-of-00003.gguf": name, 2, 3. A part 0, or one beyond the count, is an ordinary name.
struct PartName {
  std::string_view stem;
  unsigned number = 1, count = 1;
};
PartName PartOf(std::string_view file) {
  const std::string_view name = file.substr(0, file.size() - std::min(file.size(), size_t{5}));
  constexpr size_t kTail = 15;  // "-00002-of-00003"
  if (name.size() <= kTail) return {name};
  const std::string_view tail = name.substr(name.size() - kTail);
  const std::string_view number = tail.substr(1, 5), count = tail.substr(10);
  const bool digits = std::ranges::all_of(number, IsDigit) && std::ranges::all_of(count, IsDigit);
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || !digits) return {name};
  const auto value = [](std::string_view text) {
    unsigned sum = 0;
    for (const char c : text) sum = sum * 10 + static_cast<unsigned>(c - '0');
    return sum;
  };
  const unsigned nth = value(number), all = value(count);
  if (nth == 0 || nth > all) return {name};
  return {name.substr(0, name.size() - kTail), nth, all};
}

bool IsBesideAModel(std::string_view file) {
  const std::string name = Lowered(file.substr(file.rfind('/') + 1));
  return name.find("mmproj") != name.npos || name.find("imatrix") != name.npos ||
         name.starts_with("mtp-") || name.starts_with("eagle3-");
}

// Whether `word` stands in the name on its own: "Q4_K" is not in "Q4_K_M".
bool HasWord(std::string_view file, std::string_view word) {
  const std::string name = Lowered(file), wanted = Lowered(word);
  for (size_t at = name.find(wanted); at != name.npos; at = name.find(wanted, at + 1)) {
    const size_t end = at + wanted.size();
    const bool begins = at == 0 || (!IsWordChar(name[at - 1]) && name[at - 1] != '_');
    if (begins && end < name.size() && !IsWordChar(name[end]) && name[end] != '_') return true;
  }
  return false;
}

// All parts of the model whose first file is `first`.
Result<std::vector<ListedFile>> PartsOf(const std::vector<ListedFile>& files,
                                        const ListedFile& first) {
  const PartName name = PartOf(first.name);
  if (name.count == 1) return std::vector{first};
  std::map<unsigned, const ListedFile*> parts;
  for (const ListedFile& file : files) {
    const PartName part = PartOf(file.name);
    if (part.stem == name.stem && part.count == name.count) parts.emplace(part.number, &file);
  }
  std::vector<ListedFile> found;
  for (unsigned number = 1; number <= name.count; ++number) {
    const auto part = parts.find(number);
    if (part == parts.end()) {
      return Fail(ErrorCode::kCorrupt, "the repository has no part {} of {} of {}", number,
                  name.count, name.stem);
    }
    found.push_back(*part->second);
  }
  return found;
}

std::string NamesOfQuantizations(const std::vector<ListedFile>& files) {
  std::set<std::string> names;
  for (const ListedFile& file : files) {
    const std::string quantization = QuantizationOf(file.name);
    names.insert(quantization.empty() ? file.name : quantization);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

const ListedFile* FindChoice(const std::vector<ListedFile>& files, std::string_view choice) {
  for (const ListedFile& file : files) {
    if (file.name == choice) return &file;
  }
  const ListedFile* best = nullptr;  // the shortest name: others say more than was asked for
  for (const ListedFile& file : files) {
    if (PartOf(file.name).number != 1 || !HasWord(file.name, choice)) continue;
    if (best == nullptr || file.name.size() < best->name.size()) best = &file;
  }
  return best;
}

}  // namespace

std::string QuantizationOf(std::string_view file) {
  const std::string_view stem = PartOf(file).stem;
  std::string found;
  for (size_t begin = 0; begin < stem.size();) {
    size_t end = begin;
    while (end < stem.size() && (IsWordChar(stem[end]) || stem[end] == '_')) ++end;
    std::string word(stem.substr(begin, end - begin));
    std::ranges::transform(word, word.begin(), Upper);
    std::string_view kind = word;
    TakePrefix(kind, "I");
    TakePrefix(kind, "T");
    const bool block = kind.size() >= 2 && kind[0] == 'Q' && IsDigit(kind[1]);
    if (block || word == "F16" || word == "BF16" || word == "F32" || word.starts_with("MXFP4"))
      found = word;
    begin = end + 1;
  }
  return found;
}

std::map<std::string, uint64_t> QuantizationsOf(const std::vector<ListedFile>& listed) {
  std::map<std::string, uint64_t> bytes;
  for (const ListedFile& file : listed) {
    const std::string quantization = QuantizationOf(file.name);
    if (!quantization.empty() && IsGguf(file.name) && !IsBesideAModel(file.name))
      bytes[quantization] += file.bytes;
  }
  return bytes;
}

std::string StemOf(std::string_view file) {
  const std::string_view stem = PartOf(file.substr(0, file.find_first_of("?#"))).stem;
  const std::string_view name = stem.substr(stem.rfind('/') + 1);
  return std::string(name.substr(std::min(name.find_first_not_of('.'), name.size())));
}

Result<std::vector<ListedFile>> ChooseFiles(std::vector<ListedFile> listed,
                                            std::string_view choice) {
  std::erase_if(listed, [&](const ListedFile& file) {
    return !IsGguf(file.name) || !IsSafeFileName(file.name) ||
           (file.name != choice && IsBesideAModel(file.name));
  });
  if (listed.empty()) {
    return Fail(ErrorCode::kNotFound,
                "the repository has no GGUF file; look for one whose name ends in -GGUF");
  }
  std::ranges::sort(listed, {}, &ListedFile::name);
  const ListedFile* found = nullptr;
  if (!choice.empty()) {
    found = FindChoice(listed, choice);
    if (found == nullptr) {
      return Fail(ErrorCode::kNotFound, "the repository has no {}; it has {}", choice,
                  NamesOfQuantizations(listed));
    }
  } else {
    for (const std::string_view usual : {"Q4_K_M", "Q8_0"}) {
      if (found == nullptr) found = FindChoice(listed, usual);
    }
    if (found == nullptr) found = &listed[0];
  }
  return PartsOf(listed, *found);
}

}  // namespace exo::fetch
