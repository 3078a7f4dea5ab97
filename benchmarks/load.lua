-- For wrk: one MCP call again and again, each with an id of its own. What is no result is counted.
-- Arguments: a file with the header lines, and one with the body, which has ID in the place of its id.

local counted = {}

function setup(thread)
  table.insert(counted, thread)
end

function init(arguments)
  local head = io.open(arguments[1]):read("*a")
  local before, after = io.open(arguments[2]):read("*a"):match("^(.*)ID(.*)$")
  local size = #before + 8 + #after
  first = "POST /mcp HTTP/1.1\r\n" .. head .. "Content-Length: " .. size .. "\r\n\r\n" .. before
  last = after
  number = 10000000
  not200 = 0
  errors = 0
end

function request()
  number = number + 1
  return first .. number .. last
end

function response(status, headers, body)
  if status ~= 200 then
    not200 = not200 + 1
  elseif not body:find('"result"', 1, true) or body:find('"isError":true', 1, true) then
    errors = errors + 1
  end
end

function done(summary, latency, requests)
  local not200, errors = 0, 0
  for _, thread in ipairs(counted) do
    not200 = not200 + thread:get("not200")
    errors = errors + thread:get("errors")
  end
  local broken = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"p50":%f,"p95":%f,"p99":%f,"not200":%d,"errors":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(95) / 1e6,
    latency:percentile(99) / 1e6, not200, errors, broken))
end
