// The page for browsers: "/" and the files that it loads, for whoever can connect. All that it
// shows it asks the other routes for. Programs that ask for "/" get the words by which they know a
// server to talk to.
#pragma once

#include "service/http/dialect.h"
#include "service/page_files.h"

namespace exo::service::page {

// `files` must outlive the server. Where they are none, "/" says so.
Dialect MakeDialect(PageFiles files);

}  // namespace exo::service::page
