-- SPDX-License-Identifier: Apache-2.0
-- wrk's requests: `wrk ... -- MODEL fixed|varied`. A body of 230 bytes; `varied` changes the prompt each time, so that a decision has
-- to be made each time. The last line of output is for programs.
local head, tail, serial = nil, nil, 0

function init(args)
   local model, kind = args[1], args[2]
   if not model or (kind and kind ~= "fixed" and kind ~= "varied") then
      io.stderr:write("usage: wrk -s wrk.lua [OPTION...] URL -- MODEL [fixed|varied]\n")
      os.exit(2)
   end
   local before = '{"model":"' .. model .. '","messages":[{"role":"user","content":"'
   local after = '"}],"max_tokens":20}'
   local text = "Question 000000000: a ball is thrown upwards at 12 m/s from a roof of 30 m; after which time does it hit the ground, and "
      .. "how fast is it then? Neglect the resistance of the air, and say which law you use for it."
   text = text:sub(1, 230 - #before - #after)
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   wrk.body = before .. text .. after
   if kind == "varied" then
      head, tail = before .. "Question ", text:sub(19) .. after
      serial = math.floor(os.time() % 1000) * 1000000
      request = function()
         serial = serial + 1
         return wrk.format(nil, nil, nil, head .. string.format("%09d", serial) .. tail)
      end
   end
end

function done(summary, latency, requests)
   local e = summary.errors
   print(string.format("RESULT requests=%d us=%d bad=%d p50=%d p99=%d", summary.requests, summary.duration,
      e.connect + e.read + e.write + e.timeout + e.status, latency:percentile(50), latency:percentile(99)))
end
