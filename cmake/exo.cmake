# Build rules shared by every module. Flags that are part of the arithmetic (docs/arithmetic.md):
# -ffp-contract=off on every file; ISA flags only on files named *_avx2.cc, *_avx512.cc, *_dotprod.cc
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
set(CMAKE_CXX_FLAGS_RELEASE "-O2")

set(EXO_AVX2_FLAGS -mavx2 -mf16c -mbmi2)
set(EXO_AVX512_FLAGS -mavx2 -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
                     -mprefer-vector-width=512)
set(EXO_DOTPROD_FLAGS -march=armv8.2-a+dotprod)
set(EXO_I8MM_FLAGS -march=armv8.2-a+dotprod+i8mm)

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
  set(lib exo_${name})
  add_library(${lib} STATIC ${sources})
  exo_target_options(${lib})
  foreach(source ${sources})
    if(source MATCHES "_avx2\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${EXO_AVX2_FLAGS}")
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
