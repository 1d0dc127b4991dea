# What `cmake --install` (make install) puts where: the program, its bundled model, units of systemd,
# the license. Folders are those of GNU under CMAKE_INSTALL_PREFIX.
include(GNUInstallDirs)

install(TARGETS exo RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# Found from the program by its place (src/app/model_path.cc), so that exo answers offline at once.
install(FILES models/exo-tiny.gguf DESTINATION share/exo/models)
install(FILES LICENSE models/NOTICE packaging/debian/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES packaging/debian/lintian-overrides DESTINATION share/lintian/overrides RENAME exo)

# What the program writes about itself is written when it is installed: it names the place. The changelog is NEWS.gz, as
# Debian has it.
set(exo_run ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:exo>)
install(CODE "
  set(EXO_RUN \"${exo_run}\")
  set(EXO_STAGING \"${CMAKE_BINARY_DIR}/generated-files\")
  set(EXO_BINDIR \"${CMAKE_INSTALL_BINDIR}\")
  set(EXO_CHANGELOG \"${CMAKE_SOURCE_DIR}/CHANGELOG.md\")
  include(\"${CMAKE_SOURCE_DIR}/cmake/install_generated.cmake\")")
