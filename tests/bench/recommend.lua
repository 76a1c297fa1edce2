-- SPDX-License-Identifier: Apache-2.0
-- wrk's requests for recommend.sh: `wrk ... -- USERS N`: N items for one of the users u0 ... at random.
local users, wanted = 1, 20

function init(args)
   users, wanted = tonumber(args[1]), tonumber(args[2])
   math.randomseed(os.time())
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
end

function request()
   return wrk.format(nil, "/v1/recommend", nil, '{"user":"u' .. math.random(0, users - 1) .. '","n":' .. wanted .. "}")
end

function done(summary, latency, requests)
   local e = summary.errors
   print(string.format("requests: %.0f a second, p50 %.2f ms, p99 %.2f ms, %d errors", summary.requests / summary.duration * 1e6,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000, e.connect + e.read + e.write + e.timeout + e.status))
end
