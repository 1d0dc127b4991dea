// The files of the page for browsers, as they are built into the program (app/embedded_page.h);
// tests of the service bring their own.
#pragma once

#include <span>
#include <string_view>

namespace exo::service {

struct PageFile {
  std::string_view path;  // below "/": "index.html", "assets/app-1a2b.js"
  std::string_view content_type;
  std::string_view brotli, gzip;  // its bytes, compressed
  std::string_view hash;          // of its bytes, for ETags
};

using PageFiles = std::span<const PageFile>;

}  // namespace exo::service
