# The Debian package, by `cpack` in a build folder (tools/dist). Dependencies are those of the
# program's libraries, found by dpkg-shlibdeps; for another processor, where it finds none, EXO_DEPENDS
# gives them: Debian's packages and their versions are the same for all.
set(EXO_DEPENDS "" CACHE STRING "Depends of the package; empty: found by dpkg-shlibdeps")

file(STRINGS ${CMAKE_SOURCE_DIR}/src/node/version.h version REGEX "kVersion = ")
string(REGEX REPLACE ".*\"([0-9.]+)\".*" "\\1" version "${version}")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME exo)
set(CPACK_PACKAGE_VERSION ${version})
set(CPACK_PACKAGE_CONTACT "exo maintainers <maintainers@exo.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "one computer out of the devices of a home, for language models")
set(CPACK_PACKAGE_DESCRIPTION
"exo runs language models over several devices of a home, which find each
other, trust each other after one confirmation, and answer with the same
bits however a model is divided. Its API is that of OpenAI, Anthropic and
Ollama. A small model is bundled, so that it answers offline.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
foreach(script postinst prerm postrm)
  list(APPEND CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/packaging/debian/${script})
endforeach()
if(CMAKE_CROSSCOMPILING)
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE arm64)
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "${EXO_DEPENDS}")
else()
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
endif()
include(CPack)
