#include "app/man_pages.h"

#include <fmt/format.h>

#include <vector>

#include "app/command_tree.h"
#include "app/exit_codes.h"
#include "app/output.h"
#include "base/text.h"
#include "node/version.h"
#include "sys/files.h"

namespace exo::app {
namespace {

// As roff prints it: a hyphen that can be copied, a backslash, and no request at a line's front.
std::string Roff(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out.starts_with('.') || out.starts_with('\'') ? "\\&" + out : out;
}

std::string PageName(const CommandInfo& command) {
  std::string name = "exo";
  for (const std::string& word : command.path) name += "-" + word;
  return name;
}

std::string ValueName(const OptionInfo& option) {
  if (!option.choices.empty()) {
    std::string text;
    for (const std::string& choice : option.choices) text += (text.empty() ? "" : "|") + choice;
    return text;
  }
  return "VALUE";
}

std::string Synopsis(const CommandInfo& command) {
  std::string text = fmt::format(".B {}\n[\\fIOPTIONS\\fR]", Roff(command.Name()));
  for (const OptionInfo& argument : command.arguments) {
    const std::string name = "\\fI" + Roff(argument.names[0]) + "\\fR";
    text += argument.required ? " " + name : " [" + name + "]";
  }
  return text + "\n";
}

std::string OptionText(const OptionInfo& option) {
  std::string names;
  for (const std::string& name : option.names)
    names += (names.empty() ? "\\fB" : ", \\fB") + Roff(name) + "\\fR";
  if (option.takes_value && option.names[0].starts_with('-'))
    names += " \\fI" + Roff(ValueName(option)) + "\\fR";
  return fmt::format(".TP\n{}\n{}\n", names,
                     Roff(option.what.empty() ? "See above." : option.what));
}

std::string Section(const char* name, const std::vector<OptionInfo>& options) {
  if (options.empty()) return "";
  std::string text = fmt::format(".SH {}\n", name);
  for (const OptionInfo& option : options) text += OptionText(option);
  return text;
}

std::string ExitStatus() {
  std::string text = ".SH EXIT STATUS\n";
  for (const ExitMeaning& one : kExitMeanings)
    text += fmt::format(".TP\n{}\n{}\n", one.code, Roff(one.meaning));
  return text;
}

// What only the program's own page has.
std::string ProgramSections(const std::vector<CommandInfo>& all) {
  std::string text = ".SH COMMANDS\n";
  for (const CommandInfo& one : all) {
    if (one.path.size() != 1) continue;
    text += fmt::format(".TP\n.BR {} (1)\n{}\n", Roff(PageName(one)), Roff(one.what));
  }
  return text +
         ".SH FILES\n.TP\n~/.local/share/exo\nthe data folder: key, settings (exo.toml), keys of "
         "the API, models; another one with EXO_HOME\n"
         ".SH ENVIRONMENT\n.TP\n\\fBEXO_HOME\\fR\nthe data folder\n"
         ".TP\n\\fBEXO_MODELS\\fR\nmore folders with models, separated by colons\n"
         ".TP\n\\fBEXO_CLUSTER_SECRET\\fR\nthe cluster secret, instead of the data folder's\n"
         ".TP\n\\fBEXO_\\fR and any setting in capitals\nthat setting, as in exo.toml\n"
         ".TP\n\\fBNO_COLOR\\fR, \\fBCLICOLOR_FORCE\\fR\nno colors; colors in pipes, too\n";
}

std::string Page(const std::vector<CommandInfo>& all, const CommandInfo& command) {
  const bool program = command.path.empty();
  std::string text = fmt::format(".TH {} 1 \"\" \"exo {}\" \"exo\"\n.SH NAME\n{} \\- {}\n",
                                 Roff(PageName(command)), node::kVersion, Roff(PageName(command)),
                                 Roff(command.what));
  text += ".SH SYNOPSIS\n" + Synopsis(command);
  if (!command.aliases.empty()) {
    text += ".SH DESCRIPTION\nAlso called";
    for (const std::string& alias : command.aliases) text += " \\fB" + Roff(alias) + "\\fR";
    text += ".\n";
  }
  text += Section("ARGUMENTS", command.arguments) + Section("OPTIONS", command.options);
  if (program) text += ProgramSections(all);
  text += ExitStatus();
  if (program) return text;
  return text + ".SH SEE ALSO\n.BR exo (1)\n";
}

}  // namespace

std::map<std::string, std::string> ManPages(const CLI::App& app) {
  const std::vector<CommandInfo> all = DescribeCommands(app);
  std::map<std::string, std::string> pages;
  for (const CommandInfo& command : all) pages[PageName(command) + ".1"] = Page(all, command);
  return pages;
}

Result<void> RunMan(const CLI::App& app, const std::string& folder) {
  const auto pages = ManPages(app);
  TRY(sys::MakeFolders(folder));
  for (const auto& [name, text] : pages)
    TRY(sys::WriteFileAtomically(folder + "/" + name, text, 0644));
  Print("{} manual pages are in {}; read one with: man {}/exo.1\n", pages.size(), Printable(folder),
        Printable(folder));
  return {};
}

}  // namespace exo::app
