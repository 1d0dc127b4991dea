#include "app/completions.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "app/command_tree.h"
#include "app/output.h"

namespace exo::app {
namespace {

std::string Replaced(std::string text, std::string_view what, std::string_view by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
  return text;
}

// In single quotes, as all three shells read them; fish alone reads a backslash in them.
std::string Quoted(const std::string& text, bool fish = false) {
  const std::string plain = fish ? Replaced(text, "\\", "\\\\") : text;
  return "'" + Replaced(plain, "'", fish ? "\\'" : "'\\''") + "'";
}

bool IsParent(const CommandInfo& command, const CommandInfo& child) {
  return child.path.size() == command.path.size() + 1 &&
         std::equal(command.path.begin(), command.path.end(), child.path.begin());
}

// The commands below one, under all of their names.
std::vector<std::string> WordsBelow(const std::vector<CommandInfo>& all,
                                    const CommandInfo& command) {
  std::vector<std::string> words;
  for (const CommandInfo& one : all) {
    if (!IsParent(command, one)) continue;
    words.push_back(one.path.back());
    words.insert(words.end(), one.aliases.begin(), one.aliases.end());
  }
  return words;
}

std::vector<std::string> OptionWords(const CommandInfo& command) {
  std::vector<std::string> words;
  for (const OptionInfo& option : command.options)
    words.insert(words.end(), option.names.begin(), option.names.end());
  return words;
}

// "run" or "models|list|ls": the last word of a command under its names, as a pattern of `case`.
std::string CasePattern(const CommandInfo& command) {
  std::vector<std::string> patterns;
  std::string before;
  for (size_t i = 0; i + 1 < command.path.size(); ++i) before += command.path[i] + " ";
  if (command.path.empty()) return "''";
  patterns.push_back("'" + before + command.path.back() + "'");
  for (const std::string& alias : command.aliases) patterns.push_back("'" + before + alias + "'");
  return fmt::format("{}", fmt::join(patterns, "|"));
}

// What bash runs for a value; "" where nothing is known of it.
std::string BashValues(const OptionInfo& option) {
  if (!option.choices.empty())
    return fmt::format("_exo_words '{}'", fmt::join(option.choices, " "));
  switch (KindOf(option)) {
    case ValueKind::kModel:
      return "_exo_words \"$(exo models --names 2>/dev/null)\"; _exo_files";
    case ValueKind::kDevice:
      return "_exo_words \"$(exo devices --names 2>/dev/null)\"";
    case ValueKind::kFile:
      return "_exo_files";
    case ValueKind::kFolder:
      return "_exo_folders";
    case ValueKind::kShell:
      return "_exo_words 'bash zsh fish'";
    case ValueKind::kNone:
      return "";
  }
  return "";
}

std::string BashCommand(const std::vector<CommandInfo>& all, const CommandInfo& command) {
  std::string values;
  for (const OptionInfo& option : command.options) {
    if (!option.takes_value) continue;
    const std::string known = BashValues(option);
    values += fmt::format("        {}) {}; return ;;\n", fmt::join(option.names, "|"),
                          known.empty() ? ":" : known);
  }
  std::string text = fmt::format("    {})\n", CasePattern(command));
  if (!values.empty()) text += "      case $previous in\n" + values + "      esac\n";
  text += fmt::format("      if [[ $word == -* ]]; then _exo_words '{}'; return; fi\n",
                      fmt::join(OptionWords(command), " "));
  const auto below = WordsBelow(all, command);
  if (!below.empty()) text += fmt::format("      _exo_words '{}'\n", fmt::join(below, " "));
  for (size_t i = 0; i < command.arguments.size(); ++i) {
    const std::string known = BashValues(command.arguments[i]);
    if (!known.empty()) text += fmt::format("      if ((place == {})); then {}; fi\n", i, known);
  }
  return text + "      ;;\n";
}

// The words in front of the one that is typed tell the command: those that name one, in order.
constexpr std::string_view kBashHead = R"(# Completes the words of exo in bash. Load it with:
#   source <(exo completions bash)
# or for good: exo completions bash > ~/.local/share/bash-completion/completions/exo
_exo_words() { COMPREPLY+=($(compgen -W "$1" -- "$word")); }
_exo_files() { compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- "$word")); }
_exo_folders() { compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -d -- "$word")); }
_exo() {
  local IFS=$' \t\n' word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local command='' place=0 next i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == -* ]] && continue
    next="${command:+$command }${COMP_WORDS[i]}"
    case $next in
)";
constexpr std::string_view kBashMiddle = R"(        command=$next; place=0 ;;
      *) [[ -n $command ]] && place=$((place + 1)) ;;
    esac
  done
  case $command in
)";
constexpr std::string_view kBashEnd = R"(  esac
}
complete -F _exo exo
)";

std::string BashScript(const std::vector<CommandInfo>& all) {
  std::vector<std::string> patterns;
  for (const CommandInfo& command : all) {
    if (!command.path.empty()) patterns.push_back(CasePattern(command));
  }
  std::string text(kBashHead);
  text += fmt::format("      {})\n", fmt::join(patterns, "|"));
  text += kBashMiddle;
  for (const CommandInfo& command : all) text += BashCommand(all, command);
  return text + std::string(kBashEnd);
}

// One specification of _arguments; what is not said of a value completes as nothing.
std::string ZshValues(const OptionInfo& option) {
  const std::string name = option.names[0].starts_with('-') ? "value" : option.names[0];
  if (!option.choices.empty()) return fmt::format(":{}:({})", name, fmt::join(option.choices, " "));
  switch (KindOf(option)) {
    case ValueKind::kModel:
      return fmt::format(":{}:_exo_models", name);
    case ValueKind::kDevice:
      return fmt::format(":{}:_exo_devices", name);
    case ValueKind::kFile:
      return fmt::format(":{}:_files", name);
    case ValueKind::kFolder:
      return fmt::format(":{}:_files -/", name);
    case ValueKind::kShell:
      return fmt::format(":{}:(bash zsh fish)", name);
    case ValueKind::kNone:
      // What an argument is called is no completion, but keeps zsh from inserting an option's name.
      return name == "value" ? ":value: " : fmt::format(":{}:{{true}}", name);
  }
  return "";
}

std::string ZshSpecs(const CommandInfo& command) {
  std::string text;
  for (const OptionInfo& option : command.options) {
    // Brackets and colons end parts of a specification.
    const std::string what =
        Replaced(Replaced(Replaced(option.what, "[", "("), "]", ")"), ":", "\\:");
    for (const std::string& name : option.names)
      text += " " + Quoted(name + "[" + what + "]" + (option.takes_value ? ZshValues(option) : ""));
  }
  for (const OptionInfo& argument : command.arguments) text += " " + Quoted(ZshValues(argument));
  return text;
}

std::string ZshWords(const std::vector<CommandInfo>& all, const CommandInfo& command) {
  std::string text;
  for (const CommandInfo& one : all) {
    if (!IsParent(command, one)) continue;
    const std::string what = ":" + one.what;
    text += " " + Quoted(one.path.back() + what);
    for (const std::string& alias : one.aliases) text += " " + Quoted(alias + what);
  }
  return text;
}

constexpr std::string_view kZshHead = R"(#compdef exo
# Completes the words of exo in zsh: put it into a folder of $fpath as _exo, for example
#   exo completions zsh > ~/.zfunc/_exo
_exo_models() { local -a names=("${(@f)$(exo models --names 2>/dev/null)}"); compadd -a names
  _files }
_exo_devices() { local -a names=("${(@f)$(exo devices --names 2>/dev/null)}"); compadd -a names }
)";

std::string ZshCase(const std::vector<CommandInfo>& all, const CommandInfo& command) {
  const std::string below = ZshWords(all, command);
  const std::string names = command.aliases.empty() ? command.path.back()
                                                    : fmt::format("{}|{}", command.path.back(),
                                                                  fmt::join(command.aliases, "|"));
  if (below.empty()) return fmt::format("    {}) _arguments{} ;;\n", names, ZshSpecs(command));
  std::string text = fmt::format("    {})\n      if ((CURRENT == 2)); then\n", names);
  text += fmt::format("        local -a words_below=({})\n        _describe command words_below\n",
                      below);
  text += "      else\n        shift words; ((CURRENT--))\n        case $words[1] in\n";
  for (const CommandInfo& one : all) {
    if (!IsParent(command, one)) continue;
    text += fmt::format("          {}) _arguments{} ;;\n", one.path.back(), ZshSpecs(one));
  }
  return text + "        esac\n      fi ;;\n";
}

std::string ZshScript(const std::vector<CommandInfo>& all) {
  const CommandInfo& program = all[0];
  std::string text(kZshHead);
  text += fmt::format("_exo() {{\n  local -a commands=({})\n", ZshWords(all, program));
  text += fmt::format(
      "  local line state\n  _arguments -C{} '1:command:->command' '*::argument:->argument'\n",
      ZshSpecs(program));
  text += "  case $state in\n  command) _describe command commands ;;\n  argument)\n";
  text += "    case $words[1] in\n";
  for (const CommandInfo& command : all) {
    if (command.path.size() == 1) text += ZshCase(all, command);
  }
  return text +
         "    esac ;;\n  esac\n}\nif [[ $funcstack[1] == _exo ]]; then _exo \"$@\"; "
         "else compdef _exo exo; fi\n";
}

std::string FishValues(const OptionInfo& option) {
  if (!option.choices.empty()) return fmt::format(" -xa '{}'", fmt::join(option.choices, " "));
  switch (KindOf(option)) {
    case ValueKind::kModel:
      return " -ra '(exo models --names 2>/dev/null)'";
    case ValueKind::kDevice:
      return " -xa '(exo devices --names 2>/dev/null)'";
    case ValueKind::kFile:
      return " -rF";
    case ValueKind::kFolder:
      return " -xa '(__fish_complete_directories)'";
    case ValueKind::kShell:
      return " -xa 'bash zsh fish'";
    case ValueKind::kNone:
      return " -x";
  }
  return "";
}

// The condition under which a command's own words are offered.
std::string FishCondition(const std::vector<CommandInfo>& all, const CommandInfo& command) {
  if (command.path.empty()) return "__exo_has_no_command";
  std::string text = fmt::format("__fish_seen_subcommand_from {}", command.path[0]);
  if (command.path.size() == 1)
    for (const std::string& alias : command.aliases) text += " " + alias;
  for (size_t i = 1; i < command.path.size(); ++i)
    text += fmt::format("; and __fish_seen_subcommand_from {}", command.path[i]);
  const auto below = WordsBelow(all, command);
  if (!below.empty())
    text += fmt::format("; and not __fish_seen_subcommand_from {}", fmt::join(below, " "));
  return text;
}

// Fish's own __fish_use_subcommand takes the value of an option in front for a command.
constexpr std::string_view kFishHead = R"(# Completes the words of exo in fish:
#   exo completions fish > ~/.config/fish/completions/exo.fish
function __exo_has_no_command
  set -l words (commandline -opc)
  set -e words[1]
  set -l is_value 0
  for word in $words
    if test $is_value = 1
      set is_value 0
    else if contains -- $word OPTIONS
      set is_value 1
    else if not string match -q -- '-*' $word
      return 1
    end
  end
  return 0
end
complete -c exo -f
)";

std::string FishHead(const CommandInfo& program) {
  std::vector<std::string> names;
  for (const OptionInfo& option : program.options) {
    if (option.takes_value) names.insert(names.end(), option.names.begin(), option.names.end());
  }
  return Replaced(std::string(kFishHead), "OPTIONS", fmt::format("{}", fmt::join(names, " ")));
}

std::string FishScript(const std::vector<CommandInfo>& all) {
  std::string text = FishHead(all[0]);
  for (const CommandInfo& command : all) {
    const std::string condition = Quoted(FishCondition(all, command), true);
    for (const CommandInfo& one : all) {
      if (!IsParent(command, one)) continue;
      text += fmt::format("complete -c exo -n {} -a '{}' -d {}\n", condition, one.path.back(),
                          Quoted(one.what, true));
    }
    for (const OptionInfo& option : command.options) {
      std::string names;
      for (const std::string& name : option.names)
        names += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      text += fmt::format("complete -c exo{}{} -d {}{}\n",
                          command.path.empty() ? "" : " -n " + condition, names,
                          Quoted(option.what, true), option.takes_value ? FishValues(option) : "");
    }
    for (const OptionInfo& argument : command.arguments) {
      if (KindOf(argument) == ValueKind::kNone) continue;
      text += fmt::format("complete -c exo -n {}{}\n", condition, FishValues(argument));
    }
  }
  return text;
}

}  // namespace

Result<std::string> CompletionScript(const CLI::App& app, const std::string& shell) {
  const std::vector<CommandInfo> all = DescribeCommands(app);
  if (shell == "bash") return BashScript(all);
  if (shell == "zsh") return ZshScript(all);
  if (shell == "fish") return FishScript(all);
  return Fail(ErrorCode::kInvalid, "there are no completions for '{}': say bash, zsh or fish",
              shell);
}

Result<void> RunCompletions(const CLI::App& app, const std::string& shell) {
  Write(TRY(CompletionScript(app, shell)));
  return {};
}

}  // namespace exo::app
