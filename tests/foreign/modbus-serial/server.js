// A Modbus TCP server that is not ours: `node server.js PORT RUNS`. Says when it listens; ends when its
// standard input does.
// Each register shows its own address, but for the runs given below; from 1000 on there is nothing.
const ModbusRTU = require("modbus-serial");

const runs = JSON.parse(process.argv[3]);
const beyond = () => Promise.reject({ modbusErrorCode: 2 });
const cell = (table) => (address) =>
    address >= 1000 ? beyond() : (runs[table] ?? {})[address] ?? address;
const bit = (table) => (address) =>
    address >= 1000 ? beyond() : Boolean((runs[table] ?? {})[address]);
const set = (table) => (address, value) =>
    address >= 1000 ? beyond() : void ((runs[table] ??= {})[address] = value);

const server = new ModbusRTU.ServerTCP(
    {
        getHoldingRegister: cell("holding"),
        getInputRegister: cell("input"),
        getCoil: bit("coil"),
        getDiscreteInput: bit("discrete"),
        setCoil: set("coil"),
        setRegister: set("holding"),
        readDeviceIdentification: () => ({ 0: "linli", 1: "modbus-serial", 2: "1.0" }),
    },
    { host: "127.0.0.1", port: Number(process.argv[2]), debug: false, unitID: 7 },
);
server.on("initialized", () => console.log("ready"));
process.stdin.resume().on("end", () => process.exit(0));
