#include "app/pull_sources.h"

#include <cstdlib>

#include "base/text.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::app {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The first that is not empty.
std::string FirstOf(std::string a, std::string b) {
  return a.empty() ? std::move(b) : std::move(a);
}

// Of a file that other programs write; "" where there is none.
std::string TokenIn(const std::string& path) {
  std::string token = sys::ReadPlainFile(path, 4096).value_or("");
  while (!token.empty() && (token.back() == '\n' || token.back() == ' ')) token.pop_back();
  return token;
}

}  // namespace

Result<std::string> ParseEndpoint(const std::string& given) {
  std::string text = given;
  while (text.ends_with('/')) text.pop_back();
  const bool web = text.starts_with("https://") || text.starts_with("http://");
  if (web && text.find_first_of("?#@ ") == text.npos && text.find("://") + 3 < text.size() &&
      Printable(text) == text)
    return text;
  return Fail(ErrorCode::kInvalid, "\"{}\" is no address such as https://hub.example",
              Printable(given));
}

Result<fetch::Sources> PullSources(const Settings& settings) {
  fetch::Sources sources;
  if (const std::string endpoint = Variable("HF_ENDPOINT"); !endpoint.empty()) {
    auto parsed = ParseEndpoint(endpoint);
    if (!parsed) return Wrap(parsed.error(), "HF_ENDPOINT");
    sources.hub = *std::move(parsed);
  }
  const std::string home = sys::HomeFolder();
  const std::string caches = FirstOf(Variable("XDG_CACHE_HOME"), home + "/.cache");
  const std::string hub_home = FirstOf(Variable("HF_HOME"), caches + "/huggingface");
  sources.hub_folder = FirstOf(Variable("HF_HUB_CACHE"), hub_home + "/hub");
  sources.hub_token = FirstOf(Variable("HF_TOKEN"), TokenIn(hub_home + "/token"));
  sources.registry = settings.registry;
  // Ollama's own folder, and that of its system service.
  sources.ollama_folders = {FirstOf(Variable("OLLAMA_MODELS"), home + "/.ollama/models"),
                            "/usr/share/ollama/.ollama/models"};
  sources.folder = sys::DataFolder() + "/models";
  sources.web.ca_file = Variable("SSL_CERT_FILE");
  return sources;
}

}  // namespace exo::app
