#include "model/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "model/pretokenizer_rules.h"
#include "model/utf8.h"

namespace exo::model {
namespace {

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
using Code = std::unique_ptr<pcre2_code, FreeCode>;

// Limits that no text of ours reaches: the patterns have no nested repeats, so the work of one
// match is linear in the length of its run.
pcre2_match_context* Unlimited() {
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  CHECK(context != nullptr);
  pcre2_set_match_limit(context, UINT32_MAX);
  pcre2_set_depth_limit(context, UINT32_MAX);
  pcre2_set_heap_limit(context, UINT32_MAX);
  return context;
}

// The next match at or after `from`; false: there is none. The compiled code has a stack of 32 KiB
// and the interpreter a limit of steps; where either is met, the interpreter goes on without
// limits.
bool FindNext(const pcre2_code* code, std::string_view text, size_t from, pcre2_match_data* match) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int found = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, match, nullptr);
  if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
    pcre2_match_context* context = Unlimited();
    found = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match,
                        context);
    pcre2_match_context_free(context);
  }
  // What is left is a lack of memory, which ends the program elsewhere too.
  CHECK(found >= 0 || found == PCRE2_ERROR_NOMATCH);
  return found >= 0;
}

Code Compile(const char* pattern) {
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE, &error, &at, nullptr);
  CHECK(code != nullptr);
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without JIT the same code is interpreted
  return Code(code);
}

class RegexPreTokenizer final : public PreTokenizer {
 public:
  explicit RegexPreTokenizer(const PreTokenizerName& name) : name_(name) {
    for (const Expression& expression : RuleOf(name).expressions) {
      if (expression.pattern != nullptr)
        steps_.push_back({Compile(expression.pattern), expression.cut});
    }
  }

  void Split(std::string_view text,
             const std::function<void(std::string_view)>& word) const override {
    for (size_t begin = 0; begin < text.size();) {
      const bool valid = Utf8Length(text, begin) != 0;
      size_t end = begin;
      while (end < text.size()) {
        const size_t length = Utf8Length(text, end);
        if ((length != 0) != valid) break;
        end += valid ? length : 1;
      }
      const std::string_view run = text.substr(begin, end - begin);
      if (valid) {
        SplitValid(run, 0, word);
      } else {
        word(run);
      }
      begin = end;
    }
  }

  bool whole_words() const override { return name_.whole_words; }
  bool adds_bos() const override { return name_.adds_bos; }

 private:
  struct Step {
    Code code;
    Cut cut;
  };
  using Word = std::function<void(std::string_view)>;

  // Matches of expression `index` and the gaps between them, each cut further by the next
  // expression.
  void SplitValid(std::string_view text, size_t index, const Word& word) const {
    if (index == steps_.size()) return word(text);
    const auto [code, cut] = std::pair(steps_[index].code.get(), steps_[index].cut);
    const std::unique_ptr<pcre2_match_data, FreeMatch> match(pcre2_match_data_create(1, nullptr));
    CHECK(match != nullptr);
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match.get());
    size_t done = 0;
    const auto cut_at = [&](size_t at) {
      if (at > done) SplitValid(text.substr(done, at - done), index + 1, word);
      done = at;
    };
    size_t from = 0;
    // The rest is one piece. (An empty match cannot be: no pattern has one.)
    while (from < text.size() && FindNext(code, text, from, match.get()) && bounds[1] > bounds[0]) {
      from = bounds[1];
      if (cut == Cut::kBeforeThrees) {
        for (size_t at = bounds[0]; at < from; at += 3) cut_at(at);
      } else {
        cut_at(bounds[0]);
        cut_at(from);
      }
    }
    cut_at(text.size());
  }

  const PreTokenizerName& name_;
  std::vector<Step> steps_;
};

}  // namespace

Result<std::unique_ptr<const PreTokenizer>> PreTokenizer::Create(std::string_view name) {
  return std::make_unique<const RegexPreTokenizer>(*TRY(FindPreTokenizer(name)));
}

}  // namespace exo::model
