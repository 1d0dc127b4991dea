#include "service/page/page.h"

#include <algorithm>
#include <utility>

#include "service/http/ascii.h"
#include "service/http/content_coding.h"
#include "service/waiting.h"

namespace exo::service::page {
namespace {

constexpr std::string_view kIndex = "index.html";
// Files below it have their contents' hash in their names.
constexpr std::string_view kHashed = "assets/";
constexpr size_t kMaxPageFile = 16 << 20;
constexpr const char* kPlainText = "text/plain; charset=utf-8";

// Nothing of others is loaded or run, and no other page may show this one.
constexpr std::pair<const char*, const char*> kGuards[] = {
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
     "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action "
     "'none'; frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Opener-Policy", "same-origin"}};

// How a client would like a file.
struct Wishes {
  std::string accept_encoding;
  std::string if_none_match;
};

// Whether an Accept-Encoding field takes a coding (RFC 9110, 12.5.3); `*` means no one by name
// here, since it stands for codings that a client need not know.
bool Takes(std::string_view field, std::string_view coding) {
  while (!field.empty()) {
    const size_t end = std::min(field.find(','), field.size());
    const std::string_view item = field.substr(0, end);
    field.remove_prefix(std::min(field.size(), end + 1));
    const size_t semicolon = std::min(item.find(';'), item.size());
    if (Lower(Trimmed(item.substr(0, semicolon))) != coding) continue;
    const std::string_view weight = Trimmed(item.substr(std::min(item.size(), semicolon + 1)));
    // "q=0", "q=0.0", …: anything but this.
    return !weight.starts_with("q=0") || weight.find_first_of("123456789") != weight.npos;
  }
  return false;
}

// Whether an If-None-Match field names this version; compared weakly (RFC 9110, 8.8.3.2).
bool Names(std::string_view field, std::string_view etag) {
  while (!field.empty()) {
    const size_t end = std::min(field.find(','), field.size());
    std::string_view item = Trimmed(field.substr(0, end));
    field.remove_prefix(std::min(field.size(), end + 1));
    if (item.starts_with("W/")) item.remove_prefix(2);
    if (item == etag || item == "*") return true;
  }
  return false;
}

std::string Uncompressed(const PageFile& file) {
  BodyLease lease(std::make_shared<BodyBudget>(kMaxPageFile));
  return Decode(Coding::kGzip, file.gzip, kMaxPageFile, lease).value_or("");
}

HttpResponse Serve(const PageFile& file, const Wishes& wishes) {
  const bool brotli = Takes(wishes.accept_encoding, "br");
  const bool gzip = !brotli && Takes(wishes.accept_encoding, "gzip");
  const std::string etag = fmt::format("\"{}{}\"", file.hash, brotli ? "-br" : gzip ? "-gz" : "");
  const bool is_hashed = file.path.starts_with(kHashed);
  HttpResponse response{.content_type = std::string(file.content_type)};
  for (const auto& [name, value] : kGuards) response.headers.emplace_back(name, value);
  response.headers.emplace_back("ETag", etag);
  response.headers.emplace_back("Vary", "Accept, Accept-Encoding");
  response.headers.emplace_back("Cache-Control",
                                is_hashed ? "public, max-age=31536000, immutable" : "no-cache");
  if (Names(wishes.if_none_match, etag)) {
    response.status = 304;
    return response;
  }
  if (brotli || gzip) response.headers.emplace_back("Content-Encoding", brotli ? "br" : "gzip");
  response.body = brotli ? file.brotli : gzip ? file.gzip : Uncompressed(file);
  return response;
}

Parsed<Action> ReadFile(const PageFile& file, HttpRequest request) {
  Wishes wishes{std::move(request.accept_encoding), std::move(request.if_none_match)};
  return AnswerNow([&file, wishes = std::move(wishes)] { return Serve(file, wishes); });
}

// `index`: null where there is no page.
Parsed<Action> ReadRoot(const PageFile* index, HttpRequest request) {
  if (request.accept.find("text/html") == std::string::npos) {
    return AnswerNow(
        []() -> HttpResponse { return {.body = "Ollama is running", .content_type = kPlainText}; });
  }
  if (index != nullptr) return ReadFile(*index, std::move(request));
  return AnswerNow([]() -> HttpResponse {
    return {.status = 404,
            .body =
                "This exo was built without its page: the folder web/dist was missing. "
                "Programs find its API below /v1.\n",
            .content_type = kPlainText};
  });
}

HttpResponse Render(const ApiError& error) {
  return {.status = error.status, .body = error.message + "\n", .content_type = kPlainText};
}

}  // namespace

Dialect MakeDialect(PageFiles files) {
  Dialect dialect{.name = "page", .render = &Render};
  const auto index = std::ranges::find(files, kIndex, &PageFile::path);
  const PageFile* found = index == files.end() ? nullptr : &*index;
  const auto add = [&dialect](std::string path, auto read) {
    dialect.routes.push_back({.method = "GET",
                              .path = std::move(path),
                              .scope = Scope::kOpen,
                              .read = std::move(read),
                              .listed = false});
  };
  add("/", [found](HttpRequest request) { return ReadRoot(found, std::move(request)); });
  for (const PageFile& file : files) {
    add("/" + std::string(file.path),
        [&file](HttpRequest request) { return ReadFile(file, std::move(request)); });
  }
  return dialect;
}

}  // namespace exo::service::page
