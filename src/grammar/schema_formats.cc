// The formats of JSON schema as regular expressions: each writes texts that are valid for certain,
// not all that are.
#include <algorithm>
#include <array>
#include <string_view>

#include "grammar/schema_check.h"

#define EXO_DATE                                                        \
  "(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|"  \
  "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|" \
  "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)-02-29)"
#define EXO_TIME                                                 \
  "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?" \
  "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
// At most 5 labels of 41 characters: below both limits of a name, and no "--" of coded ones.
#define EXO_LABEL "[A-Za-z0-9]{1,20}(?:-[A-Za-z0-9]{1,20})?"
#define EXO_HOST EXO_LABEL "(?:\\." EXO_LABEL "){0,4}"
// Mail goes to a domain: most validators want a dot, though a host alone is allowed.
#define EXO_MAIL \
  "[A-Za-z0-9_+-]{1,20}(?:\\.[A-Za-z0-9_+-]{1,20}){0,2}@" EXO_LABEL "(?:\\." EXO_LABEL "){1,4}"
#define EXO_OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define EXO_URI_CHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
#define EXO_POINTER "(?:/(?:[^~/]|~[01])*)*"

namespace exo::grammar {
namespace {

struct Format {
  std::string_view name;
  const char* pattern;
};
constexpr const char* kUri =
    "[a-z][a-z0-9+.-]{0,9}://" EXO_HOST "(?::[1-9][0-9]{0,3})?(?:/" EXO_URI_CHAR
    "*)*(?:\\?(?:" EXO_URI_CHAR "|[/?])*)?(?:#(?:" EXO_URI_CHAR "|[/?])*)?";
constexpr std::array kFormats = {
    Format{"date", EXO_DATE},
    Format{"time", EXO_TIME},
    Format{"date-time", EXO_DATE "T" EXO_TIME},
    Format{"duration",
           "P(?:[0-9]{1,9}W|[0-9]{1,9}D(?:T[0-9]{1,9}[HMS])?|[0-9]{1,9}Y(?:[0-9]{1,9}M(?:[0-9]{1,9}"
           "D)?)?|"
           "[0-9]{1,9}M(?:[0-9]{1,9}D)?|T(?:[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|"
           "[0-9]{1,9}M(?:[0-9]{1,9}S)?|[0-9]{1,9}S))"},
    Format{"email", EXO_MAIL},
    Format{"idn-email", EXO_MAIL},
    Format{"hostname", EXO_HOST},
    Format{"idn-hostname", EXO_HOST},
    Format{"ipv4", EXO_OCTET "(?:\\." EXO_OCTET "){3}"},
    Format{"ipv6",
           "(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|"
           "::(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,5})?|"
           "(?:[0-9A-Fa-f]{1,4}:){1,3}(?::[0-9A-Fa-f]{1,4}){1,3}|(?:[0-9A-Fa-f]{1,4}:){1,6}:"},
    Format{"uuid", "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"},
    Format{"uri", kUri},
    Format{"uri-reference", kUri},
    Format{"iri", kUri},
    Format{"iri-reference", kUri},
    Format{"uri-template", kUri},
    Format{"json-pointer", EXO_POINTER},
    Format{"relative-json-pointer", "(?:0|[1-9][0-9]{0,8})(?:#|" EXO_POINTER ")"},
};

}  // namespace

const char* FormatPattern(std::string_view format) {
  const auto found = std::ranges::find(kFormats, format, &Format::name);
  return found == kFormats.end() ? nullptr : found->pattern;
}

}  // namespace exo::grammar
