-- What wrk sends, and how it paces it: a few bodies in turn, at once on each connection that is free, or at a given rate.
--
--     wrk ... -s load.lua URL -- FILE RATE SEED     FILE has a body a line; a RATE of 0 is the closed loop
--
-- At a rate, requests are due at random times (a Poisson process) whatever the server does. Each free connection holds the next
-- ones that are due, to the millisecond, which is how fine wrk can wait. What is due while none is free is missed, and counted.

local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds, nanoseconds; } instant; int clock_gettime(int clock, instant *now);")
local instant = ffi.new("instant")
local threads = {}
local lead = 0.1 -- seconds before the first is due at a rate, by when all are connected

local function clock()
   ffi.C.clock_gettime(1, instant) -- CLOCK_MONOTONIC
   return tonumber(instant.seconds) + tonumber(instant.nanoseconds) / 1e9
end

local function paced()
   local now = clock()
   due = due or now + lead
   while true do
      due = due - math.log(1 - math.random()) / rate
      if due >= now then
         return math.floor((due - now) * 1000 + 0.5)
      end
      missed = missed + 1
   end
end

function setup(thread)
   table.insert(threads, thread)
end

function init(arguments)
   requests, turn, missed = {}, 0, 0
   for body in io.lines(arguments[1]) do
      table.insert(requests, wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, body))
   end
   rate = tonumber(arguments[2])
   math.randomseed(tonumber(arguments[3]))
   if rate > 0 then
      delay = paced
   end
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end

function done(summary, latency)
   local missed, seconds, errors = 0, summary.duration / 1e6, summary.errors
   for _, thread in ipairs(threads) do
      missed = missed + thread:get("missed")
   end
   if threads[1]:get("rate") > 0 then
      seconds = seconds - lead
   end
   local form = '{"seconds": %f, "requests": %d, "p50": %f, "p99": %f, "status": %d, "timeout": %d, "socket": %d, "missed": %d}\n'
   local socket = errors.connect + errors.read + errors.write
   io.write(string.format(form, seconds, summary.requests, latency:percentile(50) / 1e3,
      latency:percentile(99) / 1e3, errors.status, errors.timeout, socket, missed))
end
