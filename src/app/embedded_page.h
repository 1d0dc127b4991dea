// The page for browsers, built into the program: the files of web/dist, compressed when exo is
// built (exo_page of cmake/exo.cmake writes the source). None where that folder was missing.
#pragma once

#include "service/page_files.h"

namespace exo::app {

service::PageFiles EmbeddedPage();

}  // namespace exo::app
