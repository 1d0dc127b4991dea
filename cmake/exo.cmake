# Build rules shared by every module. Flags that are part of the arithmetic (docs/arithmetic.md):
# -ffp-contract=off on every file; ISA flags only on files named *_avx2.cc, *_avxvnni.cc, *_avx512.cc, *_dotprod.cc
# or *_i8mm.cc.

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  find_program(LLD ld.lld-19)
  if(LLD)
    add_link_options(-fuse-ld=${LLD})
  endif()
endif()
add_link_options(-Wl,--gc-sections)
if(EXO_SANITIZE)
  add_compile_options(-fsanitize=${EXO_SANITIZE} -fno-omit-frame-pointer -g1 -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${EXO_SANITIZE})
endif()
# What a failed result or an empty optional holds is never read unseen, nor what is behind the end of a vector.
if(EXO_SANITIZE OR EXO_DEV)
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
endif()
# Sanitizer builds are compiled far more often than they compute: little optimization, and that only
# where whole models run.
set(EXO_COMPUTES base tensor kernels model checkpoint backend engine)
if(EXO_SANITIZE MATCHES address OR EXO_DEV)
  set(CMAKE_CXX_FLAGS_RELEASE "-O0")
elseif(EXO_SANITIZE)
  set(CMAKE_CXX_FLAGS_RELEASE "-O1")
else()
  set(CMAKE_CXX_FLAGS_RELEASE "-O2")
endif()
# Names of files in the program are those in the tree, wherever that is.
if(EXO_REPRODUCIBLE)
  add_compile_options(-ffile-prefix-map=${CMAKE_BINARY_DIR}/= -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
endif()
set(EXO_AVX2_FLAGS -mavx2 -mf16c -mbmi2)
set(EXO_AVXVNNI_FLAGS -mavx2 -mf16c -mbmi2 -mavxvnni)
set(EXO_AVX512_FLAGS -mavx2 -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
                     -mprefer-vector-width=512)
set(EXO_DOTPROD_FLAGS -march=armv8.2-a+dotprod)
set(EXO_I8MM_FLAGS -march=armv8.2-a+dotprod+i8mm)
# Instrumented in place, an unrolled product takes minutes to compile. ASan sees every access all the same, by a call.
if(EXO_SANITIZE MATCHES address)
  list(APPEND EXO_INTRINSICS_FLAGS -mllvm -asan-instrumentation-with-call-threshold=0)
endif()
if(EXO_SANITIZE MATCHES undefined)
  list(APPEND EXO_INTRINSICS_FLAGS -fno-sanitize=pointer-overflow,alignment,null,object-size)
endif()
list(APPEND EXO_AVX2_FLAGS ${EXO_INTRINSICS_FLAGS})
list(APPEND EXO_AVXVNNI_FLAGS ${EXO_INTRINSICS_FLAGS})
list(APPEND EXO_AVX512_FLAGS ${EXO_INTRINSICS_FLAGS})

# exo_unity(VAR NAME): with EXO_UNITY the sources in VAR become a few that include six each, since most of the time that a
# check build takes is the same headers again for every file. They are included by their path in src/: the same text, and the
# same ccache entry, in every clone. An architecture is a file that can be copied, with the same names inside: each alone.
set(EXO_LARGE_HEADERS model cluster net store node service app)
# Tests of store, node, service and app use the same names for their fixtures in several files.
set(EXO_UNITED_TESTS model cluster net)
function(exo_unity var name)
  if(NOT EXO_UNITY OR NOT name IN_LIST EXO_LARGE_HEADERS)
    return()
  endif()
  set(batches ${${var}})
  list(FILTER batches INCLUDE REGEX "/architectures/")
  set(rest ${${var}})
  list(FILTER rest EXCLUDE REGEX "/architectures/")
  while(rest)
    list(SUBLIST rest 0 6 batch)
    list(REMOVE_ITEM rest ${batch})
    list(TRANSFORM batch REPLACE "^${CMAKE_SOURCE_DIR}/src/(.*)$" "#include \"\\1\"\n")
    string(JOIN "" text ${batch})
    list(LENGTH batches number)
    set(file ${CMAKE_BINARY_DIR}/unity/${name}_${var}_${number}.cc)
    file(CONFIGURE OUTPUT ${file} CONTENT "${text}" @ONLY)
    list(APPEND batches ${file})
  endwhile()
  set(${var} ${batches} PARENT_SCOPE)
endfunction()

# exo_pch(TARGET FLAG): a precompiled header of the standard library and fmt for every target, since these headers are most
# of what a file compiles. Not under sanitizers, nor for kernels, whose files have ISA flags of their own; those builds show
# an include that is missing. A precompiled header fits one level of optimization: FLAG, or "" for the build's own.
function(exo_pch target flag)
  if(NOT EXO_PCH OR EXO_SANITIZE OR EXO_UNITY OR NOT CMAKE_CXX_COMPILER_ID MATCHES Clang)
    return()
  endif()
  set(pch exo_pch${flag})
  if(NOT TARGET ${pch})
    file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/${pch}.cc CONTENT "")
    add_library(${pch} STATIC ${CMAKE_BINARY_DIR}/${pch}.cc)
    exo_target_options(${pch})
    target_link_libraries(${pch} PUBLIC fmt::fmt Threads::Threads)
    target_compile_options(${pch} PRIVATE -Xclang -fno-pch-timestamp ${flag})
    target_precompile_headers(${pch} PRIVATE <algorithm> <array> <atomic> <chrono> <deque> <expected> <functional>
      <map> <memory> <mutex> <optional> <set> <span> <string> <string_view> <thread> <unordered_map> <utility> <variant>
      <vector> <fmt/format.h>)
  endif()
  target_compile_options(${target} PRIVATE -Xclang -fno-pch-timestamp)
  target_precompile_headers(${target} REUSE_FROM ${pch})
endfunction()

# exo_optimize(TARGET NAME): the level of optimization of a module's code, and the precompiled header that fits it. The
# modules that compute are optimized a little even in check builds.
function(exo_optimize target name)
  set(flag)
  if((EXO_SANITIZE OR EXO_DEV) AND name IN_LIST EXO_COMPUTES)
    set(flag -O1)
  endif()
  target_compile_options(${target} PRIVATE ${flag})
  if(NOT name STREQUAL kernels)
    exo_pch(${target} "${flag}")
  endif()
endfunction()

# exo_optimize_test(TARGET NAME): tests are compiled more often than they run. What they call is optimized all the same, but
# for templates of headers, of which the linker may take the test's: 34 s of engine_test became 130.
function(exo_optimize_test target name)
  if(name IN_LIST EXO_COMPUTES)
    exo_optimize(${target} ${name})
  else()
    target_compile_options(${target} PRIVATE -O0)
    exo_pch(${target} -O0)
  endif()
endfunction()

function(exo_target_options target)
  target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wshadow -Wno-missing-field-initializers -Wno-missing-designated-field-initializers
    -ffp-contract=off -fno-math-errno -ffunction-sections -fdata-sections
    $<$<BOOL:${EXO_WERROR}>:-Werror>
    $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overflow -Wno-restrict>
    $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)
  target_compile_definitions(${target} PRIVATE BOOST_ASIO_NO_DEPRECATED BOOST_BEAST_USE_STD_STRING_VIEW
    BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION)
endfunction()

# exo_module(name DEPS ... [SUBDIRS ...]): library exo_<name> from src/<name>/*.cc (+ SUBDIRS), tests
# from *_test.cc into <name>_test.
function(exo_module name)
  cmake_parse_arguments(M "" "LIBRARY_NAME" "DEPS;SUBDIRS" ${ARGN})
  set(dir ${CMAKE_SOURCE_DIR}/src/${name})
  set(globs ${dir}/*.cc)
  foreach(sub ${M_SUBDIRS})
    list(APPEND globs ${dir}/${sub}/*.cc)
  endforeach()
  file(GLOB all CONFIGURE_DEPENDS ${globs})
  set(tests ${all})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  set(sources ${all})
  list(FILTER sources EXCLUDE REGEX "(_test|_fuzz|_bench|/main)\\.cc$")
  if(NOT sources)
    return()
  endif()
  exo_unity(sources ${name})
  if(name IN_LIST EXO_UNITED_TESTS)
    exo_unity(tests ${name})
  endif()
  set(lib exo_${name})
  add_library(${lib} STATIC ${sources})
  exo_target_options(${lib})
  exo_optimize(${lib} ${name})
  foreach(source ${sources})
    if(source MATCHES "_avx2\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${EXO_AVX2_FLAGS}")
    elseif(source MATCHES "_avxvnni\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${EXO_AVXVNNI_FLAGS}")
    elseif(source MATCHES "_avx512\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${EXO_AVX512_FLAGS}")
    elseif(source MATCHES "_dotprod\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${EXO_DOTPROD_FLAGS}")
    elseif(source MATCHES "_i8mm\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${EXO_I8MM_FLAGS}")
    endif()
  endforeach()
  if("FLATBUFFERS" IN_LIST M_DEPS)
    list(REMOVE_ITEM M_DEPS FLATBUFFERS)
    exo_flatbuffers(${lib} ${dir})
  endif()
  foreach(dep ${M_DEPS})
    if(TARGET ${dep})
      target_link_libraries(${lib} PUBLIC ${dep})
    endif()
  endforeach()
  if(EXO_TESTS AND tests)
    find_package(GTest REQUIRED)
    add_executable(${name}_test ${tests})
    exo_target_options(${name}_test)
    exo_optimize_test(${name}_test ${name})
    target_link_libraries(${name}_test PRIVATE ${lib} GTest::gtest GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE EXO_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    add_test(NAME ${name}_test COMMAND ${name}_test)
  endif()
endfunction()

# Generates *_generated.h from every schema of a folder.
function(exo_flatbuffers lib dir)
  file(GLOB schemas CONFIGURE_DEPENDS ${dir}/*.fbs)
  set(headers)
  foreach(schema ${schemas})
    get_filename_component(stem ${schema} NAME_WE)
    set(header ${CMAKE_BINARY_DIR}/generated/wire/${stem}_generated.h)
    add_custom_command(OUTPUT ${header}
      COMMAND flatc --cpp --cpp-std c++17 --scoped-enums -o ${CMAKE_BINARY_DIR}/generated/wire ${schema}
      DEPENDS ${schema} VERBATIM)
    list(APPEND headers ${header})
  endforeach()
  add_custom_target(${lib}_schema DEPENDS ${headers})
  add_dependencies(${lib} ${lib}_schema)
  # Not for the modules below: their objects are the same in every build folder, and ccache has them once.
  target_include_directories(${lib} PUBLIC ${CMAKE_BINARY_DIR}/generated)
endfunction()

# The kinds of file that a page has.
set(EXO_PAGE_TYPE_html "text/html; charset=utf-8")
set(EXO_PAGE_TYPE_js "text/javascript; charset=utf-8")
set(EXO_PAGE_TYPE_css "text/css; charset=utf-8")
set(EXO_PAGE_TYPE_json "application/json")
set(EXO_PAGE_TYPE_webmanifest "application/manifest+json")
set(EXO_PAGE_TYPE_svg "image/svg+xml")
set(EXO_PAGE_TYPE_png "image/png")
set(EXO_PAGE_TYPE_ico "image/x-icon")
set(EXO_PAGE_TYPE_woff2 "font/woff2")
set(EXO_PAGE_TYPE_txt "text/plain; charset=utf-8")

# exo_page(LIB DIR): the files below DIR, compressed and built into LIB as app/embedded_page.h has them. ".incbin" takes
# bytes as they are: as text for the compiler they would be ten times as many. Maps of sources are for who builds the page.
function(exo_page lib dir)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE ${dir} ${dir}/*)
  list(FILTER files EXCLUDE REGEX "\\.map$")
  set(work ${CMAKE_BINARY_DIR}/page)
  set(bytes)
  set(table)
  set(outputs)
  set(number 0)
  if(files)
    find_program(BROTLI brotli REQUIRED)
    find_program(GZIP gzip REQUIRED)
  endif()
  foreach(file ${files})
    string(REGEX REPLACE "^.*\\." "" kind ${file})
    if(NOT DEFINED EXO_PAGE_TYPE_${kind})
      message(FATAL_ERROR "${dir}/${file}: name the media type of .${kind} in cmake/exo.cmake")
    endif()
    # A hash of what is now: a change configures anew.
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${dir}/${file})
    file(SHA256 ${dir}/${file} hash)
    string(SUBSTRING ${hash} 0 16 hash)
    add_custom_command(OUTPUT ${work}/${number}.br ${work}/${number}.gz
      COMMAND ${CMAKE_COMMAND} -E make_directory ${work}
      COMMAND ${BROTLI} -f -q 11 -o ${work}/${number}.br ${dir}/${file}
      COMMAND ${GZIP} -9 -n -c ${dir}/${file} > ${work}/${number}.gz
      DEPENDS ${dir}/${file} VERBATIM)
    list(APPEND outputs ${work}/${number}.br ${work}/${number}.gz)
    foreach(coding br gz)
      string(APPEND bytes "EXO_BYTES(${coding}_${number}, \"${work}/${number}.${coding}\")\n")
    endforeach()
    string(APPEND table "      {\"${file}\", \"${EXO_PAGE_TYPE_${kind}}\", EXO_VIEW(br_${number}), "
                        "EXO_VIEW(gz_${number}), \"${hash}\"},\n")
    math(EXPR number "${number} + 1")
  endforeach()
  if(files)
    set(body "  static const service::PageFile files[] = {\n${table}  };\n  return files;\n")
  else()
    set(body "  return {};\n")
  endif()
  file(CONFIGURE OUTPUT ${work}/embedded_page.cc @ONLY CONTENT [=[
// Made by exo_page of cmake/exo.cmake.
#include "app/embedded_page.h"

#define EXO_BYTES(name, path)                                                                  \
  __asm__(".section .rodata\n.globl exo_page_" #name "\nexo_page_" #name ":\n.incbin \"" path \
          "\"\n.globl exo_page_end_" #name "\nexo_page_end_" #name ":\n.byte 0\n.previous\n"); \
  extern "C" const char exo_page_##name[];                                                     \
  extern "C" const char exo_page_end_##name[];
#define EXO_VIEW(name) \
  std::string_view(exo_page_##name, static_cast<size_t>(exo_page_end_##name - exo_page_##name))

@bytes@
namespace exo::app {

service::PageFiles EmbeddedPage() {
@body@}

}  // namespace exo::app
]=])
  set_source_files_properties(${work}/embedded_page.cc PROPERTIES OBJECT_DEPENDS "${outputs}")
  target_sources(${lib} PRIVATE ${work}/embedded_page.cc)
endfunction()
