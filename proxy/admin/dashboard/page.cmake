# The dashboard as C: page.html with the style and the scripts put into it, without comments and indents,
# and the policy that lets nothing else run.  The whole page is also written to the build folder, as dashboard.html.
set(dashboard_bytes_max 61440)
set(dashboard_scripts parts table net chart state overview traffic policies breakers upstreams routes redis events explain start)

# SHA-256 in base64, as policies want it, from hex: CMake has no other.
function(hex_to_base64 hex out)
	set(digits "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
	set(text "")
	foreach(at RANGE 0 58 6) # 30 bytes, three at a time
		string(SUBSTRING ${hex} ${at} 6 three)
		foreach(shift 18 12 6 0)
			math(EXPR i "(0x${three} >> ${shift}) & 63")
			string(SUBSTRING ${digits} ${i} 1 digit)
			string(APPEND text ${digit})
		endforeach()
	endforeach()
	string(SUBSTRING ${hex} 60 4 two) # and two more
	foreach(shift 12 6 0)
		math(EXPR i "((0x${two} << 2) >> ${shift}) & 63")
		string(SUBSTRING ${digits} ${i} 1 digit)
		string(APPEND text ${digit})
	endforeach()
	set(${out} "${text}=" PARENT_SCOPE)
endfunction()

function(dashboard_read name out)
	set(file ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/${name})
	set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
	file(READ ${file} text)
	set(${out} "${text}" PARENT_SCOPE)
endfunction()

function(dashboard_make source)
	dashboard_read(page.html page)
	dashboard_read(page.css style)
	set(script "'use strict';\n")
	foreach(name ${dashboard_scripts})
		dashboard_read(${name}.js text)
		string(APPEND script "${text}")
	endforeach()
	string(REGEX REPLACE "\n\t*(//|/\\*-)[^\n]*" "" script "${script}")
	foreach(part style script page)
		string(REGEX REPLACE "\n[\t\n]+" "\n" ${part} "${${part}}")
	endforeach()
	foreach(part style script)
		string(SHA256 hex "${${part}}")
		hex_to_base64(${hex} ${part}_hash)
		string(REPLACE "<${part}></${part}>" "<${part}>${${part}}</${part}>" page "${page}")
	endforeach()
	set(whole ${CMAKE_BINARY_DIR}/dashboard.html)
	file(WRITE ${whole} "${page}")
	file(SIZE ${whole} bytes)
	if(bytes GREATER dashboard_bytes_max)
		message(FATAL_ERROR "the dashboard has ${bytes} bytes, and may have ${dashboard_bytes_max}")
	endif()
	file(READ ${whole} hex HEX)
	string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
	string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
	set(policy "default-src 'none'; script-src 'sha256-${script_hash}'; style-src 'sha256-${style_hash}'")
	string(APPEND policy "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
		"; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'")
	file(CONFIGURE OUTPUT ${source} CONTENT "/* Made from the files of proxy/admin/dashboard. */
#include \"admin/dashboard.h\"

const char dashboard_policy[] = \"${policy}\";
const unsigned char dashboard_page[] = {
${hex}
};
const size_t dashboard_page_bytes = sizeof(dashboard_page);
" @ONLY)
endfunction()

set(dashboard_source ${CMAKE_BINARY_DIR}/dashboard_page.c)
dashboard_make(${dashboard_source})
