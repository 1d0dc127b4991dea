#include "app/usage.h"

#include <fmt/format.h>

#include <sstream>
#include <string_view>
#include <vector>

#include "app/output.h"
#include "base/text.h"

namespace exo::app {
namespace {

// The command that was being parsed, and its name with those of its parents: "exo key add".
struct Reached {
  const CLI::App* command;
  std::string name = "exo";
};
Reached LastCommand(const CLI::App& app) {
  Reached reached{.command = &app};
  for (auto next = app.get_subcommands(); !next.empty();
       next = reached.command->get_subcommands()) {
    reached.command = next[0];
    reached.name += " " + next[0]->get_name();
  }
  return reached;
}

std::string DidYouMean(std::string_view word, const std::vector<std::string>& known) {
  const std::string near = Nearest(word, known);
  return near.empty() ? "" : fmt::format("; did you mean {}?", near);
}

std::vector<std::string> OptionNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* one : command.get_options()) {
    for (const std::string& name : one->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> CommandNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* one : command.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(one->get_name());
    for (const std::string& alias : one->get_aliases()) names.push_back(alias);
  }
  return names;
}

// Of a word that nothing takes; "" when the mistake is another.
std::string UnknownWord(const CLI::App& app, const Reached& reached) {
  const std::vector<std::string> rest = app.remaining(true);
  if (rest.empty()) return "";
  const std::string& word = rest[0];
  if (word.starts_with('-')) {
    return fmt::format("{} does not take {}{}", reached.name, Printable(word),
                       DidYouMean(word.substr(0, word.find('=')), OptionNames(*reached.command)));
  }
  const std::vector<std::string> commands = CommandNames(*reached.command);
  if (commands.empty()) return fmt::format("{} does not take {}", reached.name, Printable(word));
  return fmt::format("there is no command {}{}", Printable(word), DidYouMean(word, commands));
}

// CLI11's own words, where they name the mistake well enough.
std::string Mistake(const CLI::ParseError& error) {
  std::string text = Printable(error.what());
  if (text == "A subcommand is required") text = "it needs one more word";
  return text;
}

}  // namespace

Usage ExplainParse(const CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream out, unused;
  if (app.exit(error, out, unused) == 0) return {.wrong = false, .text = out.str()};
  const Reached reached = LastCommand(app);
  std::string text = UnknownWord(app, reached);
  if (text.empty()) {
    const std::string mistake = Mistake(error);
    text = reached.command == &app ? mistake : fmt::format("{}: {}", reached.name, mistake);
  }
  return {.wrong = true,
          .text = fmt::format("{}; {} --help shows how it is used", text, reached.name)};
}

Result<void> RunHelp(const CLI::App& app, const std::string& command) {
  if (command.empty()) {
    Write(app.help());
    return {};
  }
  for (const CLI::App* one : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!one->check_name(command)) continue;
    Write(one->help(app.get_name()));
    return {};
  }
  return Fail(ErrorCode::kInvalid, "there is no command {}{}; exo --help lists all",
              Printable(command), DidYouMean(command, CommandNames(app)));
}

}  // namespace exo::app
