#include "service/http/cookies.h"

#include <algorithm>

#include "service/http/ascii.h"

namespace exo::service {

std::vector<std::string_view> CookiesNamed(const HttpRequest& request, std::string_view name) {
  std::vector<std::string_view> values;
  for (std::string_view rest : request.cookies) {
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(';'), rest.size());
      const std::string_view pair = Trimmed(rest.substr(0, end));
      rest.remove_prefix(std::min(rest.size(), end + 1));
      const size_t equals = pair.find('=');
      if (equals != std::string_view::npos && pair.substr(0, equals) == name)
        values.push_back(pair.substr(equals + 1));
    }
  }
  return values;
}

}  // namespace exo::service
