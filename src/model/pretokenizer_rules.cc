// Facts about published vocabularies, under the names that GGUF files give them. Where the program
// that most files are made for (llama.cpp) reads an expression in its own way, its way is meant:
// ids must be the same, and tests/peer compares them.
#include "model/pretokenizer_rules.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "base/check.h"

namespace exo::model {
namespace {

// White space as the tokenizers' own regex engines have it. PCRE2's \s also holds U+180E.
#define EXO_SPACES \
  R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})"
#define EXO_SPACE R"([)" EXO_SPACES R"(])"
#define EXO_LAST_SPACES EXO_SPACE R"(+(?![^)" EXO_SPACES R"(])|)" EXO_SPACE R"(+)"
// Neither space nor letter nor digit.
#define EXO_SIGN R"([^)" EXO_SPACES R"(\p{L}\p{N}])"
#define EXO_SIGN_IN_LINE R"([^)" EXO_SPACES R"(\r\n\p{L}\p{N}])"
// The ends of English contractions, in lower case and in any.
#define EXO_LOWER_ENDS R"('s|'t|'re|'ve|'m|'ll|'d)"
#define EXO_ENDS R"('[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define EXO_LEAD R"([^\r\n\p{L}\p{N}]?)"
#define EXO_NEWLINES "|" EXO_SPACE R"(*[\r\n]+|)" EXO_LAST_SPACES

#define EXO_GPT2 EXO_LOWER_ENDS R"(| ?\p{L}+| ?\p{N}+| ?)" EXO_SIGN R"(+|)" EXO_LAST_SPACES
#define EXO_WORDS(digits) EXO_LEAD R"(\p{L}+|)" digits R"(| ?)" EXO_SIGN R"(+[\r\n]*)" EXO_NEWLINES
#define EXO_LLAMA3(digits) EXO_ENDS "|" EXO_WORDS(digits)
// Words that begin with capitals and go on in small letters. Of letters outside of ASCII both are
// taken for either.
#define EXO_CASES(ends) \
  EXO_LEAD R"([^\P{L}a-z]*[^\P{L}A-Z]+)" ends "|" EXO_LEAD R"([^\P{L}a-z]+[^\P{L}A-Z]*)" ends
#define EXO_SIGNS_AND_SLASHES R"(| ?)" EXO_SIGN R"(+[\r\n/]*)" EXO_NEWLINES
#define EXO_BLOOM \
  R"( ?[^(|)" EXO_SPACES R"(.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+)"
// Letters that have a case.
#define EXO_CASED                                                                           \
  R"(A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293})"   \
  R"(\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386})"            \
  R"(\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F})"   \
  R"(\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA})"  \
  R"(\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A})"                 \
  R"(\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D})"                 \
  R"(\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4})"          \
  R"(\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3})"         \
  R"(\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107})" \
  R"(\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D})"  \
  R"(\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184})"  \
  R"(\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D})" \
  R"(\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E})"                 \
  R"(\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A})"                 \
  R"(\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB})"           \
  R"(\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943})"
// U+0800 to U+4E00 without the white space among them, the ideographs, and Hangul.
#define EXO_ASIAN                                                                            \
  R"([\x{800}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027}\x{202A}-\x{202E}\x{2030}-\x{205E})" \
  R"(\x{2060}-\x{2FFF}\x{3001}-\x{9FA5}\x{AC00}-\x{D7FF}]+)"
#define EXO_KANA R"([\x{3040}-\x{30FF}\x{4E00}-\x{9FA5}]+)"
#define EXO_HAN                                                               \
  R"(\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{2A6DF})" \
  R"(\x{2A700}-\x{2EBEF}\x{2F800}-\x{2FA1F})"
#define EXO_HAN_WORD R"([^\P{L})" EXO_HAN R"(]+)"
// Punctuation of ASCII, its full-width forms and of East Asia.
#define EXO_WIDE_SIGNS \
  R"([!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3001}\x{3002}]+)"
#define EXO_DEEPSEEK3(lines)                                                               \
  R"([!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+)" lines \
  R"(|)" EXO_LAST_SPACES
#define EXO_THOUSANDS R"((?:[0-9]{3})++(?![0-9]))"

constexpr std::array kRules = std::to_array<PreTokenizerRule>({
    {"default", {{{R"([\p{P}\$\+<=>\^~\|]+)"}, {EXO_GPT2}, {R"(\p{N}+)"}, {"[0-9][0-9][0-9]"}}}},
    {"gpt-2", {{{EXO_GPT2}}}},
    {"starcoder", {{{R"(\p{N})"}, {EXO_GPT2}}}},
    {"falcon", {{{R"([\p{P}\$\+<=>\^~\|`]+)"}, {EXO_GPT2}, {"[0-9][0-9][0-9]"}}}},
    {"llama-bpe", {{{EXO_LLAMA3(R"(\p{N}{1,3})")}}}},
    {"minicpm5", {{{R"(\p{N}{1,3})"}, {EXO_LLAMA3(R"(\p{N}+)")}}}},
    {"qwen2", {{{EXO_LLAMA3(R"(\p{N})")}}}},
    {"qwen35",
     {{{EXO_ENDS R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^)" EXO_SPACES
                 R"(\p{L}\p{M}\p{N}]+[\r\n]*)" EXO_NEWLINES}}}},
    {"ufakzeka", {{{EXO_WORDS(R"(\p{N})")}}}},
    {"laguna", {{{R"([^\n]+|\n+)"}, {EXO_LLAMA3(R"(\p{N})")}}}},
    {"seed-coder",
     {{{EXO_ENDS "|" EXO_LEAD R"(\p{L}+|\p{N}| ?)" EXO_SIGN_IN_LINE "+" EXO_NEWLINES}}}},
    {"bailingmoe",
     {{{R"('[sSdDmMtT]|'[lL][lL]|'[vV][eE]|'[rR][eE]|)" EXO_LEAD R"(\p{L}+|\p{N}| ?)" EXO_SIGN
        R"(+[\r\n]*|)" EXO_SPACE R"(*[\r\n]|)" EXO_LAST_SPACES}}}},
    {"tekken", {{{EXO_CASES("") R"(|\p{N})" EXO_SIGNS_AND_SLASHES}}}},
    {"gpt-4o", {{{EXO_CASES("(?:" EXO_ENDS ")?") R"(|\p{N}{1,3})" EXO_SIGNS_AND_SLASHES}}}},
    {"kimi-k2",
     {{{R"([)" EXO_HAN R"(]+|)" EXO_LEAD EXO_HAN_WORD "(?:" EXO_ENDS R"()?|\p{N}{1,3}| ?)" EXO_SIGN
        R"(+[\r\n]*)" EXO_NEWLINES}}}},
    {"superbpe", {{{R"(\p{N}+)"}, {EXO_THOUSANDS, Cut::kBeforeThrees}}}},
    {"bloom", {{{EXO_BLOOM}}}},
    {"viking", {{{EXO_BLOOM}, {R"(\p{N})"}}}},
    {"chameleon",
     {{{"<sentinel:[0-9]+>"},
       {"IMGIMG[A-I]{1,4}Z"},
       {R"([\t\n]|    |  )"},
       {R"(\p{N})"},
       {R"([\p{P}!-/:-@\[-`{-~])"},
       {EXO_GPT2}}}},
    {"deepseek-llm",
     {{{R"([\r\n])"},
       {EXO_SPACE "?[" EXO_CASED "]+"},
       {EXO_SPACE "?" EXO_WIDE_SIGNS},
       // White space at the end; one that begins within a run is no match.
       {"(?<!" EXO_SPACE ")" EXO_SPACE R"(++\z)"},
       {EXO_ASIAN},
       {R"(\p{N}+)"}}}},
    {"deepseek-coder",
     {{{R"([\r\n])"},
       {EXO_SPACE R"(?\p{L}+)"},
       {EXO_SPACE R"(?\p{P}+)"},
       {EXO_ASIAN},
       {R"(\p{N})"}}}},
    {"deepseek-v3",
     {{{R"(\p{N}{1,3})"}, {EXO_KANA}, {EXO_DEEPSEEK3(R"([\r\n]*|)" EXO_SPACE R"(*[\r\n]+)")}}}},
    {"spark2_5", {{{R"(\p{N}{1,3})"}, {EXO_KANA}, {EXO_DEEPSEEK3(R"(|[\r\n])")}, {R"(\p{N})"}}}},
});

constexpr std::array kNames = std::to_array<PreTokenizerName>({
    {"", "default"},
    {"default", "default"},
    {"gpt-2", "gpt-2"},
    {"phi-2", "gpt-2"},
    {"mpt", "gpt-2"},
    {"olmo", "gpt-2"},
    {"jais", "gpt-2"},
    {"trillion", "gpt-2"},
    {"granite-docling", "gpt-2"},
    {"exaone4", "gpt-2"},
    {"gigachat", "gpt-2"},
    {"a.x-4.0", "gpt-2"},
    {"mellum", "gpt-2"},
    {"modern-bert", "gpt-2"},
    {"jina-es", "gpt-2"},
    {"jina-de", "gpt-2"},
    {"jina-v2-es", "gpt-2"},
    {"jina-v2-de", "gpt-2"},
    {"starcoder", "starcoder"},
    {"refact", "starcoder"},
    {"command-r", "starcoder"},
    {"smollm", "starcoder"},
    {"codeshell", "starcoder"},
    {"exaone", "starcoder"},
    {"minerva-7b", "starcoder"},
    {"mellum2", "starcoder"},
    {"falcon", "falcon"},
    {.name = "llama-bpe", .rule = "llama-bpe", .whole_words = true, .adds_bos = true},
    {.name = "llama3", .rule = "llama-bpe", .whole_words = true, .adds_bos = true},
    {.name = "llama-v3", .rule = "llama-bpe", .whole_words = true, .adds_bos = true},
    {.name = "falcon3", .rule = "llama-bpe", .whole_words = true, .adds_bos = true},
    {.name = "falcon-h1", .rule = "llama-bpe", .whole_words = true, .adds_bos = true},
    {.name = "pixtral", .rule = "llama-bpe", .whole_words = true, .adds_bos = true},
    {.name = "midm-2.0", .rule = "llama-bpe", .whole_words = true, .adds_bos = true},
    {.name = "lfm2", .rule = "llama-bpe", .whole_words = true, .adds_bos = true},
    {"smaug-bpe", "llama-bpe"},
    {"dbrx", "llama-bpe"},
    {"chatglm-bpe", "llama-bpe"},
    {"glm4", "llama-bpe"},
    {.name = "minicpm5", .rule = "minicpm5", .whole_words = true},
    {"qwen2", "qwen2"},
    {"deepseek-r1-qwen", "qwen2"},
    {"megrez", "qwen2"},
    {"kormo", "qwen2"},
    {"f2llmv2", "qwen2"},
    {"stablelm2", "qwen2"},
    {"hunyuan", "qwen2"},
    {"solar-open", "qwen2"},
    {"grok-2", "qwen2"},
    {"qwen35", "qwen35"},
    {"ufakzeka", "ufakzeka"},
    {"laguna", "laguna"},
    {"seed-coder", "seed-coder"},
    {"bailingmoe", "bailingmoe"},
    {"bailingmoe2", "bailingmoe"},
    {"llada-moe", "bailingmoe"},
    {.name = "tekken", .rule = "tekken", .whole_words = true, .adds_bos = true},
    {"gpt-4o", "gpt-4o"},
    {"llama4", "gpt-4o"},
    {"kanana2", "gpt-4o"},
    {"talkie", "gpt-4o"},
    {"minimax-m2", "gpt-4o"},
    {"kimi-k2", "kimi-k2"},
    {"superbpe", "superbpe"},
    {"bloom", "bloom"},
    {"gpt3-finnish", "bloom"},
    {"poro-chat", "bloom"},
    {"viking", "viking"},
    {.name = "chameleon", .rule = "chameleon", .adds_bos = true},
    {"deepseek-llm", "deepseek-llm"},
    {"deepseek-coder", "deepseek-coder"},
    {"deepseek-v3", "deepseek-v3"},
    {"hunyuan-dense", "deepseek-v3"},
    {"joyai-llm", "deepseek-v3"},
    {"hy_v4", "deepseek-v3"},
    {"spark2_5", "spark2_5"},
});

}  // namespace

std::span<const PreTokenizerName> PreTokenizerNames() {
  return kNames;
}

Result<const PreTokenizerName*> FindPreTokenizer(std::string_view name) {
  const auto found = std::ranges::find(kNames, name, &PreTokenizerName::name);
  if (found != kNames.end()) return &*found;
  std::vector<std::string_view> known;
  for (const PreTokenizerName& one : kNames) {
    if (!one.name.empty()) known.push_back(one.name);
  }
  return Fail(ErrorCode::kUnsupported, "the pre-tokenizer '{}' is not known; known are {}", name,
              fmt::join(known, ", "));
}

const PreTokenizerRule& RuleOf(const PreTokenizerName& name) {
  const auto found = std::ranges::find(kRules, name.rule, &PreTokenizerRule::name);
  CHECK(found != kRules.end());
  return *found;
}

}  // namespace exo::model
